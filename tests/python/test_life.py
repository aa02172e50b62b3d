# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Starts, stops, failures of starts, deaths, keepalive, and what is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from workers import General

from rankcall import DistributedRunner, LaunchError, RankDiedError, SyncRunner, WorkerError

HERE = os.path.dirname(os.path.abspath(__file__))


def gone(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("ranks", [1, 4])
async def test_other_numbers_of_ranks(ranks):
    async with DistributedRunner(General, ranks) as runner:
        assert (await runner.invoke({"do": "about"}))["world_size"] == ranks
        got = [item async for item in runner.stream({"do": "burst", "count": 100})]
        assert len(got) == 100 * ranks + 1


async def test_a_stopped_runner_can_be_started_again():
    runner = DistributedRunner(General, 1)
    pids = []
    for turn in range(3):
        await runner.start(base=turn)
        about = await runner.invoke({"do": "about"})
        assert about["base"] == turn
        pids.append(about["pid"])
        await runner.stop()
        assert not runner.is_alive()
        with pytest.raises(RuntimeError, match="not running"):
            await runner.invoke({})
        with pytest.raises(RuntimeError, match="not running"):
            await runner.stop()
    assert all(map(gone, pids))


async def test_a_runner_that_was_not_started_says_so():
    runner = DistributedRunner(General, 2)
    assert not runner.is_alive() and runner.gather_errors() == []
    with pytest.raises(RuntimeError, match="not running"):
        await runner.invoke({})
    with pytest.raises(RuntimeError, match="not running"):
        async for _ in runner.stream({}):
            pass
    with pytest.raises(RuntimeError, match="not running"):
        runner.ensure_alive()
    runner.terminate()


@pytest.mark.parametrize("rank", [0, 1])
async def test_an_exception_in_setup_is_told(rank):
    runner = DistributedRunner(General, 2)
    with pytest.raises(RuntimeError, match="no model on %d" % rank) as caught:
        await runner.start(fail_on=rank)
    assert isinstance(caught.value, WorkerError)
    assert caught.value.rank == rank and "raise ValueError" in caught.value.traceback
    assert not runner.is_alive()
    assert runner.gather_errors() == [caught.value]
    await runner.start()
    await runner.stop()


async def test_a_slow_setup_is_a_timeout_error():
    runner = DistributedRunner(General, 1)
    with pytest.raises(TimeoutError):
        await runner.start(timeout=1, sleep=60)
    assert not runner.is_alive()


async def test_cancelling_start_ends_the_ranks():
    runner = DistributedRunner(General, 1)
    task = asyncio.create_task(runner.start(sleep=60))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not runner.is_alive()


async def test_a_class_that_is_not_there_is_told():
    runner = DistributedRunner("workers:Nobody", 1)
    with pytest.raises(RuntimeError, match="Nobody"):
        await runner.start()


async def test_a_launcher_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("RANKCALL_COMMAND", "/nonexistent/rankcall")
    with pytest.raises(LaunchError, match="/nonexistent/rankcall"):
        await DistributedRunner(General, 1).start()


async def test_a_program_that_is_not_there_is_told():
    with pytest.raises(LaunchError, match="no-such-program"):
        await DistributedRunner("./no-such-program", 1).start()


async def test_a_c_program_in_place_of_a_class():
    async with DistributedRunner("hello", 2) as runner:
        assert (await runner.invoke({"who": "Ada"}))["ranks"] == 2


async def test_setup_gets_any_values():
    options = {"data": b"x", "pair": (1, 2), "text": "ä"}
    runner = DistributedRunner(General, 2)
    await runner.start(**options)
    assert (await runner.invoke({"do": "about"}))["options"] == options
    await runner.stop()


async def test_cwd_is_followed(tmp_path):
    runner = DistributedRunner(General, 1, cwd=tmp_path)
    await runner.start()
    assert (await runner.invoke({"do": "about"}))["cwd"] == str(tmp_path)
    await runner.stop()


async def test_a_dead_rank_is_told_and_replaced():
    async with DistributedRunner(General, 2) as runner:
        with pytest.raises(RuntimeError) as caught:
            await runner.invoke({"do": "die", "rank": 1})
        assert isinstance(caught.value, RankDiedError) and caught.value.rank == 1
        assert runner.is_alive()
        assert await runner.invoke({"a": 1}) == {"a": 1}
        assert any(isinstance(error, RankDiedError) for error in runner.gather_errors())
        assert runner.gather_errors() == []


async def test_a_dead_rank_ends_a_stream():
    async with DistributedRunner(General, 2) as runner:
        with pytest.raises(RankDiedError):
            async for _ in runner.stream({"do": "die", "rank": 1}):
                pass


async def test_a_dead_rank_0_is_told_and_what_waited_runs(tmp_path):
    notes = tmp_path / "notes"
    async with DistributedRunner(General, 2) as runner:
        dying = asyncio.create_task(runner.invoke({"do": "die", "rank": 0}))
        waiting = [
            asyncio.create_task(runner.invoke({"do": "note", "file": str(notes), "text": str(number)}))
            for number in range(5)
        ]
        with pytest.raises(RankDiedError):
            await dying
        assert await asyncio.gather(*waiting) == [{}] * 5
        assert notes.read_text().split() == list("01234")
        assert await runner.invoke({"a": 1}) == {"a": 1}


async def test_an_idempotent_call_outlives_rank_0(tmp_path):
    tell = tmp_path / "tell"
    async with DistributedRunner(General, 2) as runner:
        pid = (await runner.invoke({"do": "about"}))["pid"]
        task = asyncio.create_task(
            runner.invoke({"do": "sleep", "seconds": 0.5, "tell": str(tell)}, idempotent=True)
        )
        while not tell.exists():
            await asyncio.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        assert await task == {"slept": 0.5}
        assert tell.read_text() == "began\n" * 2


async def test_a_job_that_ends_is_told():
    runner = DistributedRunner(General, 2, restarts=0)
    await runner.start()
    with pytest.raises(RuntimeError):
        await runner.invoke({"do": "die", "rank": 1})
    while runner.is_alive():
        await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError, match="not running"):
        await runner.invoke({})
    await runner.start()
    assert await runner.invoke({"a": 1}) == {"a": 1}
    await runner.stop()


async def test_stop_ends_a_call_that_runs():
    runner = DistributedRunner(General, 2)
    await runner.start()
    task = asyncio.create_task(runner.invoke({"do": "sleep"}))
    await asyncio.sleep(0.1)
    await runner.stop(timeout=0.2)
    with pytest.raises(RuntimeError):
        await task


async def test_terminate_ends_calls_of_other_loops():
    runner = DistributedRunner(General, 1)
    await runner.start()
    outcome = []

    def call():
        try:
            asyncio.run(runner.invoke({"do": "sleep"}))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    await asyncio.sleep(0.2)
    runner.terminate(timeout=1)
    await asyncio.get_running_loop().run_in_executor(None, thread.join, 60)
    assert len(outcome) == 1 and isinstance(outcome[0], RuntimeError)


def test_keepalive_calls_by_itself(tmp_path):
    notes = tmp_path / "notes"
    runner = SyncRunner(
        General, 1, keepalive_payload={"do": "note", "file": str(notes), "text": "alive"}, keepalive_interval=0.05
    )
    with runner:
        wait_for(lambda: notes.exists() and notes.read_text().count("alive") >= 3)
        with pytest.raises(RuntimeError, match="keepalive"):
            runner.runner.keepalive_payload = {"do": "fail"}
            runner.keepalive()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("rankcall")] == []


def test_the_synchronous_twin():
    with SyncRunner(General, world_size=2) as runner:
        assert runner.invoke({"a": 1}) == {"a": 1}
        assert len(list(runner.stream({"do": "burst", "count": 3}))) == 7
        stream = runner.stream({"do": "silent"})
        assert next(stream) == {"here": True}
        stream.close()
        with pytest.raises(TimeoutError):
            runner.invoke({"do": "sleep"}, timeout=0.2)
        results = []
        threads = [threading.Thread(target=lambda: results.append(runner.invoke({"b": 2}))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [{"b": 2}] * 5

        async def within_a_loop():
            return runner.invoke({"c": 3})

        assert asyncio.run(within_a_loop()) == {"c": 3}
        assert runner.status()["world_size"] == 2 and runner.is_alive()
    assert not runner.is_alive()


# Who starts the tests in the background may have told its children to ignore SIGINT.
SCRIPT = """
import os, signal, sys, time, asyncio
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, %r)
"""


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT % HERE + text)
    home = os.path.dirname(os.path.dirname(sys.modules["rankcall"].__file__))
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": home, "TMPDIR": str(tmp_path / "temporary")}
    return subprocess.Popen([sys.executable, str(path)], env=environment, stdout=subprocess.PIPE, text=True)


START = """
from rankcall import SyncRunner
from workers import General
runner = SyncRunner(General, 2)
if __name__ == "__main__":
    runner.start(data=b"x")
    print(runner.runner._job.process.pid, runner.invoke({"do": "about"})["pid"], flush=True)
"""


@pytest.mark.parametrize("end", ["", "    raise SystemExit(3)", "    os.kill(os.getpid(), 9)", "    os._exit(0)"])
def test_the_job_ends_with_the_program(tmp_path, end):
    with script(tmp_path, START + end + "\n") as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.wait(60)
    assert len(pids) == 2
    wait_for(lambda: all(map(gone, pids)))
    wait_for(lambda: os.listdir(tmp_path / "temporary") == [])


def test_ctrl_c_ends_the_job(tmp_path):
    with script(tmp_path, START + '    runner.invoke({"do": "sleep"})\n') as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    wait_for(lambda: all(map(gone, pids)))


def test_starts_and_stops_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def left():
        return sorted(
            os.listdir(tmp_path) + os.listdir(os.environ["RANKCALL_RUNTIME_DIR"])
        ), len(os.listdir("/proc/self/fd")), threading.active_count()

    async def cycles(count):
        runner = DistributedRunner("hello", 1)
        for _ in range(count):
            await runner.start()
            await runner.stop()

    asyncio.run(cycles(1))
    before = left()
    asyncio.run(cycles(int(os.environ.get("RANKCALL_CYCLES", "10"))))
    assert left() == before
