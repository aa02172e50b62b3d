# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The command ``python -m rankcall``: ``run MODULE:CLASS -n 4`` starts a job of a Python worker, every other subcommand
(``invoke``, ``ps``, ``stop``, …) is that of the command ``rankcall``."""

from __future__ import annotations

import os
import sys
from typing import List, Optional, Sequence

HELP = """\
Usage: python3 -m rankcall run [OPTIONS] MODULE:CLASS [-- ARGUMENTS]
       python3 -m rankcall SUBCOMMAND …

run starts a job whose ranks run a Python class, and stays with it until it ends. MODULE may be a path: worker.py:Class.
OPTIONS are those of `rankcall run` (-n RANKS, --name, --setup JSON, …; see below) and of the ranks
(--path DIR, --torch off, --init-timeout SECONDS; see python3 -m rankcall.worker --help).
Every other subcommand is that of the command rankcall, see rankcall(1).
"""
# Options with a value that go to the ranks, and those without.
OF_RANKS = ("--cwd", "--path", "--file", "--setup-file", "--init-timeout", "--torch")
# Options of `rankcall run` that have no value.
FLAGS = ("--debug", "--json", "--verbose", "-v", "-h", "--help")


def _sort(words: Sequence[str]) -> "tuple[List[str], List[str], List[str], List[str]]":
    """What goes to `rankcall run`, to the ranks, the targets, and the worker's own arguments."""
    launcher: List[str] = []
    ranks: List[str] = []
    targets: List[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return launcher, ranks, targets, left
        if not word.startswith("-") or word == "-":
            targets.append(word)
            continue
        home = ranks if word.split("=")[0] in OF_RANKS else launcher
        home.append(word)
        alone = "=" in word or word in FLAGS or (len(word) > 2 and word[1] != "-")
        if not alone and left:
            home.append(left.pop(0))
    return launcher, ranks, targets, []


def _has(options: Sequence[str], *names: str) -> bool:
    return any(option.split("=")[0] in names for option in options)


def run_line(command: str, words: Sequence[str]) -> List[str]:
    """The command line of ``run``.

    Raises:
        SystemExit: there is not one MODULE:CLASS.
    """
    from rankcall._options import Options

    launcher, ranks, targets, own = _sort(words)
    if _has(launcher, "-h", "--help"):
        print(HELP)
        return [command, "run", "--help"]
    if len(targets) != 1:
        sys.exit("rankcall: " + ("one MODULE:CLASS is needed" if not targets else '"%s" is unexpected' % targets[1]))
    if not _has(launcher, "--name", "--socket"):
        launcher += ["--name", Options(targets[0]).job_name]
    worker = ["-m", "rankcall.worker", "{}", *ranks, targets[0], *(["--", *own] if own else [])]
    return [command, "run", *launcher, "--", sys.executable, *worker]


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Becomes the command ``rankcall``; returns only from help."""
    from rankcall._launch import find_command

    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words:
        print(HELP)
        return
    command = find_command()
    if command is None:
        sys.exit("rankcall: there is no command rankcall on PATH: install rankcall, or set RANKCALL_COMMAND")
    line = run_line(command, words[1:]) if words[0] == "run" else [command, *words]
    if words[0] == "run":
        # The ranks find this package where this process has found it.
        home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join([one for one in paths if one] + ([] if home in paths else [home]))
    os.execvp(command, line)


if __name__ == "__main__":
    main()
