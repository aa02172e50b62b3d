# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The command line of a rank: ``python -m rankcall.worker``."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass, field
from typing import List, Optional, Sequence, Tuple

USAGE = """\
mpirun -n RANKS python3 -m rankcall.worker [OPTIONS] MODULE:CLASS [-- ARGUMENTS]
       rankcall run -n RANKS -- python3 -m rankcall.worker {} [OPTIONS] MODULE:CLASS
       python3 -m rankcall run MODULE:CLASS -n RANKS"""

# librankcall-worker's own options: (name, what its value is called, help)
NATIVE: Tuple[Tuple[str, Optional[str], str], ...] = (
    ("--name", "NAME", "name of the job; it listens in the folder of jobs (default: the class's name)"),
    ("--socket", "PATH", "listen at PATH instead"),
    ("--setup", "JSON|@FILE", "keyword arguments of setup (default: {})"),
    ("--queue", "N", "calls that may wait (default: 256)"),
    ("--payload-cap", "SIZE", "largest payload, result or event, with K, M or G (default: 1G)"),
    ("--client-stall", "SECONDS", "how long calls wait for a client that reads nothing (default: 60)"),
    ("--call-log", "FILE", "append a line a call to FILE"),
    ("--restarts", "N", "how often in an hour dead ranks are replaced (default: 10)"),
    ("--grace", "SECONDS", "for ranks to come back from a call before they are killed (default: 30)"),
    ("--launcher", "PATH", argparse.SUPPRESS),
    ("--debug", None, "print debug lines"),
)


@dataclass
class Options:
    """What a rank was started with."""

    target: str  # MODULE:CLASS
    cwd: Optional[str] = None
    path: List[str] = field(default_factory=list)
    file: Optional[str] = None
    setup_file: Optional[str] = None
    init_timeout: float = 86400.0
    torch: bool = True
    native: List[str] = field(default_factory=list)
    arguments: List[str] = field(default_factory=list)  # the worker's own

    @property
    def job_name(self) -> str:
        """The class's name, as far as it is fit for a job's."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.target.rpartition(":")[2])[:64] or "worker"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rankcall.worker",
        usage=USAGE,
        description="One rank of a job whose worker is a Python class.",
        epilog="MODULE may also be a path: worker.py:Class. Python must be named by its absolute path where dead ranks "
        "shall be replaced and a virtual environment is used.",
        allow_abbrev=False,
    )
    parser.add_argument("--cwd", metavar="DIR", help="change to DIR, an absolute path, first")
    parser.add_argument("--path", metavar="DIR", action="append", default=[], help="search modules in DIR; repeatable")
    parser.add_argument("--file", metavar="SCRIPT", help="the script that the module __main__ stands for")
    parser.add_argument("--setup-file", metavar="FILE", help="keyword arguments of setup, a payload in wire form")
    parser.add_argument("--init-timeout", metavar="SECONDS", type=float, default=86400.0, help="of torch.distributed")
    parser.add_argument("--torch", choices=("auto", "off"), default="auto", help="off: torch.distributed is not set up")
    for name, value, text in NATIVE:
        if value is None:
            parser.add_argument(name, action="store_true", help=text)
        else:
            parser.add_argument(name, metavar=value, help=text)
    return parser


def _split(arguments: Sequence[str]) -> Tuple[List[str], List[str]]:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:at]), list(arguments[at + 1 :])


def parse_options(arguments: Sequence[str]) -> Options:
    """Reads the command line. The launcher's options may stand before a ``--``, with the rest behind.

    Raises:
        SystemExit: it is wrong, or asks for help.
    """
    parser = _parser()
    head, tail = _split(arguments)
    parsed, words = parser.parse_known_args(head)
    if not words and tail:
        head, tail = _split(tail)
        parsed, words = parser.parse_known_args(head, parsed)
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        parser.error("there is no option %s" % unknown[0])
    if len(words) != 1:
        parser.error("one MODULE:CLASS is needed" if not words else '"%s" is unexpected' % words[1])
    native: List[str] = []
    for name, value, _text in NATIVE:
        given = getattr(parsed, name[2:].replace("-", "_"))
        if value is None:
            native += [name] if given else []
        elif given is not None:
            native += [name, given]
    torch = parsed.torch == "auto" and os.environ.get("RANKCALL_TORCH", "") not in ("0", "off")
    return Options(words[0], parsed.cwd, parsed.path, parsed.file, parsed.setup_file, parsed.init_timeout, torch, native, tail)
