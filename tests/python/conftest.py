# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Tests of the Python package over real jobs.

The package is that of the source tree, unless it is installed for this interpreter; the command is RANKCALL_COMMAND or
that on PATH. RANKCALL_RUNTIME_DIR is a folder of the test session's own."""

import asyncio
import glob
import inspect
import os
import sys
import tempfile

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "python")
if os.environ.get("RANKCALL_INSTALLED") != "1":
    sys.path.insert(0, PACKAGE)
os.environ.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
os.environ.setdefault("RANKCALL_TORCH", "0")  # tests of torch ask for it; it takes a second to import


@pytest.fixture(autouse=True, scope="session")
def runtime_folder():
    with tempfile.TemporaryDirectory(prefix="rc-py-") as folder:
        old = os.environ.get("RANKCALL_RUNTIME_DIR")
        os.environ["RANKCALL_RUNTIME_DIR"] = folder
        yield folder
        if old is None:
            del os.environ["RANKCALL_RUNTIME_DIR"]
        else:
            os.environ["RANKCALL_RUNTIME_DIR"] = old
        left = [path for path in glob.glob(folder + "/*") if path.endswith(".sock")]
        assert left == [], "sockets are left behind"


def pytest_pyfunc_call(pyfuncitem):
    """Coroutine tests, each in a loop of its own, with a deadline."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    limit = getattr(function, "limit", 120)
    asyncio.run(asyncio.wait_for(function(**arguments), limit))
    return True


@pytest.fixture(scope="module")
def shared():
    """A runner of `workers:General` with two ranks for all tests of a module: each loop has its own connection."""
    from workers import General

    from rankcall import DistributedRunner

    runner = DistributedRunner(General, 2)
    asyncio.run(runner.start(base=10))
    yield runner
    asyncio.run(runner.stop())
    assert not runner.is_alive()
