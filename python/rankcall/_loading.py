# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Finding a worker's class by ``MODULE:CLASS``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, List, Type

from rankcall._options import Options
from rankcall._worker import DistributedWorker

SCRIPT = "__rankcall_main__"  # the name of a script's module: its `if __name__ == "__main__"` holds


def enter_folder(options: Options) -> None:
    """Makes the folder, sys.path and sys.argv what the options say."""
    if options.cwd:
        os.chdir(options.cwd)
    sys.path[:0] = [folder for folder in options.path if folder not in sys.path]
    sys.argv = [options.file or options.target, *options.arguments]


def load_class(options: Options) -> Type[DistributedWorker]:
    """The worker's class.

    Raises:
        ImportError: the module, or the class in it, can't be found; says what was looked for, and where.
        TypeError: it is no DistributedWorker.
    """
    name, colon, path = options.target.rpartition(":")
    if not colon or not name or not path:
        raise ImportError('"%s" does not name a worker: MODULE:CLASS is needed' % options.target)
    if options.file:
        module = _run_file(options.file, SCRIPT)
    elif name.endswith(".py"):
        module = _run_file(name, os.path.splitext(os.path.basename(name))[0])
    else:
        module = _import(name)
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise ImportError(_missing(path, name, module))
    if not isinstance(found, type) or not issubclass(found, DistributedWorker):
        raise TypeError("%s is no subclass of rankcall.DistributedWorker, but %r" % (options.target, found))
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise  # a module that the worker's own imports
        places = "".join("\n  %s" % (folder or os.getcwd()) for folder in sys.path)
        raise ModuleNotFoundError(
            'there is no module "%s" (folder: %s). It was looked for in:%s' % (error.name, os.getcwd(), places),
            name=error.name,
        ) from None


def _run_file(path: str, name: str) -> ModuleType:
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise ImportError("there is no file %s (folder: %s)" % (path, os.getcwd()))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("%s is no Python file" % path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec.loader.exec_module(module)
    return module


def _missing(path: str, name: str, module: ModuleType) -> str:
    workers: List[str] = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, DistributedWorker) and value is not DistributedWorker
    ]
    return 'there is no class "%s" in the module "%s" (%s); its workers are: %s' % (
        path,
        name,
        getattr(module, "__file__", None) or "built in",
        ", ".join(workers) or "none",
    )
