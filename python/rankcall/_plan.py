# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What the ranks of a runner's job execute: the program, its arguments, its environment."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional

from rankcall import _source
from rankcall._protocol import encode_payload
from rankcall._values import flatten

if TYPE_CHECKING:
    from rankcall.runner import DistributedRunner

_CLASS = re.compile(r"[\w.]+:[\w.]+")
HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Plan(NamedTuple):
    program: List[str]
    setup: Optional[str]
    environment: Dict[str, str]
    title: str  # for the job's name


def plan(runner: DistributedRunner, kwargs: Dict[str, Any], folder: str) -> Plan:
    worker = runner.worker_cls
    if isinstance(worker, str) and not _CLASS.fullmatch(worker):
        worker = [worker]
    if isinstance(worker, (list, tuple)):
        return _of_program(runner, [str(one) for one in worker], kwargs, folder)
    if isinstance(worker, str):
        title = worker.split(":")[1]
    elif isinstance(worker, type):
        title = worker.__name__
    else:
        raise TypeError('worker_cls is a class, its name as "module:Class", or a program, not %r' % (worker,))

    def write(name: str, text: str) -> str:
        return _write(folder, name, text.encode())

    arguments: List[str] = []
    if runner.cwd is not None:
        arguments += ["--cwd", os.path.abspath(runner.cwd)]
    for entry in _source.search_path():
        arguments += ["--path", entry]
    if kwargs:
        wire = b"".join(encode_payload(*flatten(kwargs, image_format="png", what="start")))
        arguments += ["--setup-file", _write(folder, "setup", wire)]
    if not runner.torch_distributed:
        arguments += ["--torch", "off"]
    arguments += ["--init-timeout", "%d" % runner.timeout]
    arguments += _source.worker_arguments(worker, write)
    program = [runner.python, "-m", "rankcall.worker", "{}", *arguments]
    return Plan(program, None, _environment(runner), title)


def _of_program(runner: DistributedRunner, program: List[str], kwargs: Dict[str, Any], folder: str) -> Plan:
    setup = None
    if kwargs:
        text, attachments = flatten(kwargs, what="start")
        if attachments:
            raise TypeError('start["%s"] is binary, which setup of a program does not take' % attachments[0].name)
        setup = "@" + _write(folder, "setup.json", json.dumps(json.loads(text)).encode())
    return Plan(program, setup, _environment(runner), os.path.basename(program[0]))


def _write(folder: str, name: str, data: bytes) -> str:
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(data)
    return path


def _environment(runner: DistributedRunner) -> Dict[str, str]:
    environment = {**os.environ, **runner.env}
    if HOME not in sys.path or not HOME.endswith("-packages"):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = HOME + (os.pathsep + rest if rest else "")
    environment.setdefault("PYTHONUNBUFFERED", "1")
    if os.geteuid() == 0:  # mpirun asks for both; whoever runs this as root has decided that already
        environment.setdefault("OMPI_ALLOW_RUN_AS_ROOT", "1")
        environment.setdefault("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
    return environment
