# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Worker classes wherever they are: scripts, packages, notebooks, functions; and jobs without the command."""

import asyncio
import math
import os
import shutil
import subprocess
import sys

import pytest

import rankcall
from rankcall import DistributedRunner, DistributedWorker, _launch

HOME = os.path.dirname(os.path.dirname(os.path.abspath(rankcall.__file__)))

SCRIPT = """
import asyncio
import helper_beside
from rankcall import DistributedRunner, DistributedWorker

GREETING = "hello"

class Greeter(DistributedWorker):
    class Inner(DistributedWorker):
        def __call__(self, **kwargs):
            return "inner"

    def __call__(self, name, **kwargs):
        return "%s %s from %s" % (GREETING, helper_beside.shout(name), __name__)

async def main():
    async with DistributedRunner(Greeter, 2) as runner:
        print(await runner.invoke({"name": "you"}))
    async with DistributedRunner(Greeter.Inner, 1) as runner:
        print(await runner.invoke())

if __name__ == "__main__":
    asyncio.run(main())
"""
HELPER = "def shout(text):\n    return text.upper()\n"


def run(line, folder, **more):
    environment = {**os.environ, "PYTHONPATH": HOME, **more}
    done = subprocess.run(line, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


def test_a_class_of_a_script(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    (folder / "helper_beside.py").write_text(HELPER)
    lines = run([sys.executable, str(folder / "script.py")], tmp_path)
    assert lines[0].startswith("hello YOU from ") and lines[1] == "inner"


def test_a_class_of_a_package_run_as_a_module(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tool.py").write_text(SCRIPT.replace("import helper_beside", "from . import helper_beside"))
    (package / "helper_beside.py").write_text(HELPER)
    assert run([sys.executable, "-m", "package.tool"], tmp_path) == ["hello YOU from package.tool", "inner"]


NOTEBOOK = """
class Shell:  # what a notebook's kernel does, as far as it matters here
    pass
import linecache, sys, types
cells = [
    "import math\\nfrom rankcall import DistributedWorker, SyncRunner",
    "FACTOR = 3\\nraise_me = 0",
    "%matplotlib inline",
    "def double(x):\\n    return 2 * x",
    "class Notebook(DistributedWorker):\\n    def __call__(self, x, **kw):\\n        return double(x) * FACTOR + math.floor(0.5)",
    "with SyncRunner(Notebook, 2) as runner:\\n    print(runner.invoke({'x': 7}))",
]
main = sys.modules["__main__"]
main.In = [""]
del main.__file__
main.__spec__ = None
for cell in cells:
    main.In.append(cell)
    if not cell.startswith("%"):
        exec(compile(cell, "<cell>", "exec"), main.__dict__)
"""


def test_a_class_of_a_notebooks_cell(tmp_path):
    (tmp_path / "notebook.py").write_text(NOTEBOOK)
    assert run([sys.executable, str(tmp_path / "notebook.py")], tmp_path) == ["42"]


async def test_a_class_within_a_function():
    factor = 3

    def triple(x):
        return factor * x

    class Base(DistributedWorker):
        def setup(self, **kwargs):
            self.offset = math.floor(1.5)

    class Local(Base):
        def __call__(self, x, **kwargs):
            return triple(x) + self.offset + len(HELPER)

    async with DistributedRunner(Local, 2) as runner:
        assert await runner.invoke({"x": 2}) == 7 + len(HELPER)


async def test_what_a_class_cannot_take_along_is_named():
    unsendable = object()

    class Local(DistributedWorker):
        def __call__(self, **kwargs):
            return unsendable

    with pytest.raises(RuntimeError, match="unsendable"):
        await DistributedRunner(Local, 1).start()


async def test_a_class_without_source_is_refused_or_taken_by_value():
    names = {"DistributedWorker": DistributedWorker, "__name__": "nowhere_at_all"}
    exec("class Made(DistributedWorker):\n    def __call__(self, x=1, **kwargs):\n        return x + 1\n", names)
    runner = DistributedRunner(names["Made"], 1)
    try:
        import cloudpickle  # noqa: F401
    except ImportError:
        with pytest.raises(RuntimeError, match="Made"):
            await runner.start()
        return
    async with runner:
        assert await runner.invoke({"x": 2}) == 3


async def test_a_class_by_its_name():
    async with DistributedRunner("workers:General", 1) as runner:
        assert await runner.invoke({"a": 1}) == {"a": 1}


async def test_neither_a_class_nor_a_program():
    with pytest.raises(TypeError, match="worker_cls"):
        await DistributedRunner(3, 1).start()


async def test_without_the_command_mpirun_starts_the_job(monkeypatch):
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun on PATH")
    monkeypatch.setattr(_launch, "find_command", lambda: None)
    runner = DistributedRunner("workers:General", 2)
    for turn in range(2):
        await runner.start(base=turn)
        about = await runner.invoke({"do": "about"})
        assert about["base"] == turn and about["world_size"] == 2
        assert [item async for item in runner.stream({"do": "burst", "count": 1})][-1] == {"count": 1}
        await runner.stop()
        assert not runner.is_alive()
    with pytest.raises(RuntimeError, match="no model on 1"):
        await runner.start(fail_on=1)


async def test_with_neither_the_command_nor_mpirun(monkeypatch):
    monkeypatch.setattr(_launch, "find_command", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="mpirun"):
        await DistributedRunner("workers:General", 1).start()


def test_two_runners_at_once():
    async def one(number):
        async with DistributedRunner("workers:General", 1) as runner:
            return await runner.invoke({"n": number})

    async def both():
        return await asyncio.gather(one(1), one(2))

    assert asyncio.run(both()) == [{"n": 1}, {"n": 2}]
