# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A rank's life: setup, deaths and replacements, teardown; and a worker without a job."""

import asyncio
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

import pytest
import rank_workers as workers

import rankcall
from rankcall import DistributedRunner, DistributedWorker, NotRunningError, RankDiedError


def notes(folder, what):
    return sorted(tuple(map(int, name.split(".")[1:])) for name in os.listdir(folder) if name.startswith(what))


@pytest.mark.parametrize("ranks, dead", ((2, 0), (2, 1), (3, 1)))
async def test_only_the_replacement_of_a_dead_rank_runs_setup(ranks, dead, tmp_path):
    runner = DistributedRunner(workers.Lives, ranks)
    await runner.start(folder=str(tmp_path))
    before = await runner.invoke()
    assert notes(tmp_path, "setup") == [(rank, before[rank][0]) for rank in range(ranks)]
    with pytest.raises(RankDiedError) as caught:
        await runner.invoke({"die": dead})
    assert caught.value.rank == dead
    after = await runner.invoke()
    for rank in range(ranks):
        assert (after[rank][0] == before[rank][0]) == (rank != dead)
        if rank == dead:
            assert after[rank][1] == 1
        else:  # what it had is still there; the call in which the other died may have come to it or not
            assert after[rank][1] in (before[rank][1] + 1, before[rank][1] + 2)
    assert notes(tmp_path, "regroup") == [(rank, before[rank][0]) for rank in range(ranks) if rank != dead]
    assert len(notes(tmp_path, "setup")) == ranks + 1
    await runner.stop()
    assert notes(tmp_path, "teardown") == [(rank, after[rank][0]) for rank in range(ranks)]


def test_a_worker_without_a_job():
    worker = DistributedWorker()
    assert (worker.rank, worker.world_size, worker.running) == (0, 1, True)
    assert str(worker.device).startswith(("cpu", "cuda"))
    worker.add_streaming_result({"a": 1})
    worker.add_streaming_result({"a": 1}, as_text_event=True)
    worker.add_streaming_error(ValueError("no"))
    assert worker.queue.get_nowait() == {"a": 1}
    assert worker.queue.get_nowait() == b'data: {"a": 1}\n\n'
    assert worker.queue.get_nowait() == {"error": "no"}
    with pytest.raises(queue.Empty):
        worker.queue.get_nowait()
    assert worker.cancelled is False
    worker.check_cancelled()
    assert worker(streaming=True, a=1) == {}
    worker.shutdown()
    assert not worker.running


def test_functions_run_in_the_worker():
    worker = DistributedWorker(rank=3, world_size=5)

    async def where():
        return threading.current_thread() is worker.thread

    try:
        assert worker.run_in_worker(where).result(10) is True
        assert worker.submit(where()).result(10) is True
        assert worker.run_in_worker(pow, 2, 10).result(10) == 1024
        assert worker.run_in_worker(threading.current_thread).result(10) not in (worker.thread, threading.main_thread())
        with pytest.raises(ZeroDivisionError):
            worker.run_in_worker(divmod, 1, 0).result(10)
    finally:
        worker.shutdown()
    coroutine = where()
    with pytest.raises(RuntimeError, match="not running"):
        worker.submit(coroutine)


def test_setup_and_teardown_may_be_either():
    class Either(DistributedWorker):
        async def setup(self, **kwargs):
            self.kwargs = kwargs

        def teardown(self):
            raise ValueError("is told and does not matter")

    worker = Either()
    worker.initialize(a=1)
    assert worker.kwargs == {"a": 1}
    worker.shutdown()
    worker.shutdown()
    assert not worker.running


def test_rank_print(capsys):
    worker = DistributedWorker(rank=2)
    worker.rank_print("Starting")
    worker.rank_print("Loaded", debug=True)
    worker.shutdown()
    assert capsys.readouterr().out == "[rank 2] Starting\n[debug] [rank 2] Loaded\n"


async def ready(runner, process):
    """Attaches as soon as the job listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            await runner.start(timeout=60)
            return
        except NotRunningError:
            assert process.poll() is None, "the job has ended"
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ("run", "mpirun"))
async def test_jobs_from_the_command_line(how, tmp_path):
    mpirun = os.environ.get("RANKCALL_MPIRUN") or shutil.which("mpirun")
    if how == "mpirun" and not mpirun:
        pytest.skip("there is no mpirun on PATH")
    path = str(tmp_path / "job.sock")
    options = ["--socket", path, "--setup", '{"base": 7}', "--torch", "off"]
    if how == "run":
        line = [sys.executable, "-m", "rankcall", "run", "workers:General", "-n", "2", *options]
    else:
        line = [mpirun, "-n", "2", sys.executable, "-m", "rankcall.worker", *options, "workers:General"]
    root = os.path.dirname(os.path.dirname(rankcall.__file__))
    environment = {
        **os.environ,
        "PYTHONPATH": root,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    with open(tmp_path / "output", "w") as output:
        process = subprocess.Popen(
            line, cwd=os.path.dirname(__file__), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        runner = DistributedRunner(job=path)
        await ready(runner, process)
        found = await runner.invoke({"do": "about"})
        assert (found["world_size"], found["base"]) == (2, 7)
        stop = [sys.executable, "-m", "rankcall", "stop", "-j", path]
        assert subprocess.run(stop, env=environment, capture_output=True, timeout=60).returncode == 0
        assert process.wait(60) == 0, (tmp_path / "output").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


async def test_a_thread_that_does_not_end_does_not_keep_the_job():
    async with DistributedRunner(workers.Threads, 2) as runner:
        assert await runner.invoke() == [True, True]
    assert not runner.is_alive()


async def test_a_rank_that_does_not_come_back_tells_where_it_is(capfd):
    async with DistributedRunner(workers.Stuck, 2, grace=1) as runner:
        with pytest.raises(RankDiedError) as caught:
            await runner.invoke({"rank": 1})
        assert caught.value.code == "wedged"
        assert await runner.invoke() == {"fine": True}
    printed = "".join(capfd.readouterr())
    assert "[rank 1] is still in call 1, which is to be left (wedged):" in printed
    assert "in linger" in printed
