# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Where the ranks find a worker class: in a module, a script, a notebook's cells, or inside a function."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import site
import sys
import textwrap
import types
from typing import Any, Callable, Dict, List, Optional, Tuple

Write = Callable[[str, str], str]  # name and text of a file; returns its path


def worker_arguments(worker: Any, write: Write) -> List[str]:
    """The arguments of `python -m rankcall.worker` that name a class, without `--path`."""
    if isinstance(worker, str):
        return [worker]
    try:
        return _by_source(worker, write)
    except RuntimeError:
        by_value = _by_value(worker, write)
        if by_value is None:
            raise
        return by_value


class _NoSource(RuntimeError):
    pass


def _by_value(worker: Any, write: Write) -> Optional[List[str]]:
    """By cloudpickle, where that is installed: through a private file, never the socket."""
    try:
        import cloudpickle
    except ImportError:
        return None
    name = "worker_" + worker.__name__
    text = "import pickle\n%s = pickle.loads(%r)\n" % (name, cloudpickle.dumps(worker))
    return ["--file", write("by_value.py", text), "__main__:" + name]


def _by_source(worker: Any, write: Write) -> List[str]:
    module, name = worker.__module__, worker.__qualname__
    if "<locals>" in name:
        return _local(worker, write)
    if module == "__main__":
        return _of_main(worker, name, write)
    home = sys.modules.get(module)
    if home is None or not _is_there(worker, home, name):
        raise _NoSource("the ranks can't be told of the class %s, which is not in its module %s" % (name, module))
    file = getattr(home, "__file__", None)
    if file is not None and not _importable(module, file):
        return ["--file", os.path.abspath(file), "%s:%s" % (module, name)]
    return ["%s:%s" % (module, name)]


def search_path() -> List[str]:
    """Folders on this program's sys.path that a new interpreter would not have by itself."""
    own = {os.path.abspath(os.path.join(sys.prefix, "lib")), os.path.abspath(os.path.join(sys.base_prefix, "lib"))}
    sites = {os.path.abspath(folder) for folder in [*site.getsitepackages(), site.getusersitepackages()]}
    result = []
    for entry in sys.path:
        folder = os.path.abspath(entry or os.getcwd())
        if any(folder.startswith(prefix + os.sep + "python") for prefix in own) or folder in sites:
            continue
        if folder not in result and os.path.exists(folder):
            result.append(folder)
    return result


def _is_there(worker: Any, home: Any, name: str) -> bool:
    for part in name.split("."):
        home = getattr(home, part, None)
    return home is worker


def _importable(module: str, file: str) -> bool:
    """Whether the ranks would find the same file under that name."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return False
    return found is not None and found.origin is not None and os.path.abspath(found.origin) == os.path.abspath(file)


def _of_main(worker: Any, name: str, write: Write) -> List[str]:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name and not spec.name.endswith("__main__"):
        return ["%s:%s" % (spec.name, name)]  # python -m package.module
    file = getattr(main, "__file__", None)
    if file is not None and os.path.exists(file):
        return ["--file", os.path.abspath(file), "__main__:%s" % name]
    text = _cells() or _source(worker)
    return ["--file", write("cells.py", text), "__main__:%s" % name]


def _cells() -> Optional[str]:
    """What a notebook's cells have imported and defined, or None outside of IPython."""
    history = getattr(sys.modules["__main__"], "In", None)
    if not isinstance(history, list):
        return None
    kept = []
    for cell in history:
        try:
            tree = ast.parse(cell)
        except SyntaxError:  # a command of IPython's
            continue
        body: List[ast.stmt] = [node for node in tree.body if _defines(node)]
        kept += _decorated(cell, body)
    return "\n\n".join(kept) + "\n"


def _decorated(cell: str, body: List[ast.stmt]) -> List[str]:
    lines = cell.splitlines()
    result = []
    for node in body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        result.append("\n".join(lines[first - 1 : node.end_lineno]))
    return result


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        return _is_literal(node.value)
    return False


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _source(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise _NoSource(
            "the ranks can't be told of the class %s, whose source is not to be had: put it into a file, or install cloudpickle"
            % thing.__qualname__
        ) from error


def _local(worker: Any, write: Write) -> List[str]:
    """A class of a function's: its source, with the module's names around it."""
    lines: List[str] = ["import sys"]
    module = sys.modules.get(worker.__module__)
    file = getattr(module, "__file__", None)
    if file is not None:
        lines += _LOADER.format(name=worker.__module__, file=os.path.abspath(file)).splitlines()
    done: Dict[str, str] = {}
    _add_definition(worker, done)
    lines += done.values()
    return ["--file", write("local.py", "\n".join(lines) + "\n"), "__main__:%s" % worker.__name__]


_LOADER = """import importlib, importlib.util
def _module(name, file):
    if name in sys.modules and name != "__main__":
        return sys.modules[name]
    try:
        found = importlib.import_module(name) if name != "__main__" else None
        if found is not None and getattr(found, "__file__", None) == file:
            return found
    except ImportError:
        pass
    spec = importlib.util.spec_from_file_location("__rankcall_home__", file)
    found = importlib.util.module_from_spec(spec)
    sys.modules["__rankcall_home__"] = found
    spec.loader.exec_module(found)
    return found
globals().update({{k: v for k, v in vars(_module({name!r}, {file!r})).items() if not k.startswith("__")}})"""


def _add_definition(thing: Any, done: Dict[str, str]) -> None:
    """The source of a function or class, after that of what it takes from the functions around it."""
    if thing.__name__ in done:
        return
    text = _source(thing)
    for name, value in _free_variables(thing):
        if name in done or name == thing.__name__ or name == "__class__":
            continue
        if isinstance(value, types.ModuleType):
            done[name] = (
                "import %s as %s" % (value.__name__, name)
                if "." not in value.__name__
                else ("%s = __import__('importlib').import_module(%r)" % (name, value.__name__))
            )
        elif isinstance(value, (type, types.FunctionType)):
            if "<locals>" in value.__qualname__:
                _add_definition(value, done)
            if name != value.__name__ or "<locals>" not in value.__qualname__:
                done[name] = "from %s import %s as %s" % (value.__module__, value.__qualname__, name)
        else:
            done[name] = "%s = %s" % (name, _literal(name, value, thing))
    done[thing.__name__] = text


def _literal(name: str, value: Any, thing: Any) -> str:
    text = repr(value)
    try:
        if ast.literal_eval(text) == value:
            return text
    except (ValueError, SyntaxError):
        pass
    raise RuntimeError(
        "the ranks can't be told of %s, which %s takes from the function around it: pass it to setup() by start(%s=...)"
        % (name, thing.__qualname__, name)
    )


def _free_variables(thing: Any) -> List[Tuple[str, Any]]:
    found: Dict[str, Any] = {}
    functions: List[Any] = [thing]
    if isinstance(thing, type):
        for base in thing.__bases__:
            if "<locals>" in base.__qualname__:
                found[base.__name__] = base
        functions = [getattr(one, "__func__", getattr(one, "fget", one)) for one in vars(thing).values()]
    for function in functions:
        if isinstance(function, types.FunctionType):
            for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
                try:
                    found[name] = cell.cell_contents
                except ValueError:  # not assigned yet
                    continue
    return list(found.items())
