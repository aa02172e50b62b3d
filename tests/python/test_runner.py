# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The runner: calls, streams, deadlines, cancellation, several loops and threads."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

from rankcall import CallCancelledError, CallTimeoutError, DistributedRunner, RankcallError, WorkerError


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


async def completed(runner):
    return (await runner.status())["calls"]


async def test_invoke_returns_rank_0s_result(shared):
    about = await shared.invoke({"do": "about"})
    assert about["rank"] == 0 and about["world_size"] == 2
    assert about["base"] == 10 and about["streaming"] is False
    assert about["cwd"] == os.getcwd()


async def test_invoke_without_a_payload(shared):
    assert await shared.invoke() == {}


@pytest.mark.parametrize("value", [None, 5, "x", [1, (2,)], {"a": b"b"}, {1: 2}, True, 2.5], ids=repr)
async def test_a_result_may_be_any_value(shared, value):
    assert await shared.invoke({"do": "value", "value": value}) == value


async def test_arrays_travel_both_ways(shared):
    numpy = pytest.importorskip("numpy")
    array = numpy.random.default_rng(3).random((1000, 1000))
    result = await shared.invoke({"deep": [{"array": array}], "top": array[::2]})
    assert numpy.array_equal(result["deep"][0]["array"], array)
    assert numpy.array_equal(result["top"], array[::2])


async def test_stream_yields_events_of_all_ranks_then_the_result(shared):
    got = [item async for item in shared.stream({"do": "burst", "count": 50})]
    assert got[-1] == {"count": 50}
    for rank in range(2):
        assert [item["number"] for item in got[:-1] if item["rank"] == rank] == list(range(50))


async def test_events_know_their_rank_and_number(shared):
    got = [event async for event in shared.events({"do": "burst", "count": 3})]
    assert sorted((event.rank, event.sequence) for event in got[:-1]) == [(r, n) for r in range(2) for n in range(3)]
    assert got[-1].rank is None and got[-1].value() == {"count": 3}


async def test_a_burst_of_events_is_whole(shared):
    count = 20000
    numbers = {0: [], 1: []}
    async for item in shared.stream({"do": "burst", "count": count}):
        if "number" in item:
            numbers[item["rank"]].append(item["number"])
    assert numbers == {0: list(range(count)), 1: list(range(count))}


async def test_a_slow_reader_slows_the_ranks_and_loses_nothing(shared):
    count, seen = 3000, 0
    async for item in shared.stream({"do": "burst", "count": count, "size": 10000, "ranks": [1]}):
        seen += "number" in item
        if seen % 1000 == 1:
            await asyncio.sleep(0.1)
    assert seen == count


async def test_a_call_within_a_stream_that_is_not_read_does_not_hang(shared):
    async for _ in shared.stream({"do": "burst", "count": 6000}):
        assert await shared.invoke({"do": "value", "value": 7}) == 7
        break


async def test_text_events_are_server_sent_events(shared):
    got = [block async for block in shared.stream({"do": "say", "items": [{"step": 1}, [1, 2]]}, as_text_events=True)]
    assert got == [b'data: {"step": 1}\n\n', b"data: [1, 2]\n\n", b'data: {"done": true}\n\n']


async def test_values_come_whatever_the_worker_says_of_text(shared):
    got = [item async for item in shared.stream({"do": "say", "items": [{"step": 1}]})]
    assert got == [{"step": 1}, {"done": True}]


@pytest.mark.parametrize("on", [0, 1, None])
async def test_an_exception_is_a_runtime_error_with_its_place(shared, on):
    with pytest.raises(RuntimeError, match="says no") as caught:
        await shared.invoke({"do": "fail", "on": on})
    error = caught.value
    assert isinstance(error, WorkerError) and not isinstance(error, TimeoutError)
    assert error.rank == on or (on is None and error.rank in (0, 1))
    assert error.host and "raise ValueError" in error.traceback and error.call
    assert await shared.invoke({"a": 1}) == {"a": 1}


async def test_an_exception_ends_a_stream(shared):
    with pytest.raises(RuntimeError, match="rank 1 says no"):
        async for _ in shared.stream({"do": "fail", "on": 1}):
            pass


async def test_errors_can_be_pickled(shared):
    with pytest.raises(WorkerError) as caught:
        await shared.invoke({"do": "fail", "on": 1})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is WorkerError and str(copy) == str(caught.value) and copy.rank == 1


async def test_what_cannot_be_sent_is_refused_before_it_is_sent(shared):
    before = (await shared.status())["calls"]
    with pytest.raises(TypeError, match=r'payload\["a"\]\[3\]'):
        await shared.invoke({"a": [1, 2, 3, object()]})
    assert (await shared.status())["calls"] == before


async def test_a_result_that_cannot_be_sent_is_named(shared):
    with pytest.raises(RuntimeError, match="is a .*General, which cannot be sent"):
        await shared.invoke({"do": "unsendable"})


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_deadline_is_a_timeout_error(shared, streaming):
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        if streaming:
            async for _ in shared.stream({"do": "sleep"}, timeout=0.3):
                pass
        else:
            await shared.invoke({"do": "sleep"}, timeout=0.3)
    assert isinstance(caught.value, CallTimeoutError) and not isinstance(caught.value, RuntimeError)
    assert 0.25 < time.monotonic() - start < 30
    assert await shared.invoke({"a": 1}) == {"a": 1}


async def test_a_silent_stream_is_a_timeout_error(shared):
    got = []
    with pytest.raises(TimeoutError):
        async for item in shared.stream({"do": "silent"}, streaming_timeout=0.3):
            got.append(item)
    assert got == [{"here": True}]


async def test_cancelling_invoke_cancels_it_on_the_ranks(shared, tmp_path):
    tell = tmp_path / "tell"
    before = await completed(shared)
    task = asyncio.create_task(shared.invoke({"do": "sleep", "tell": str(tell)}))
    await until(tell.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await shared.invoke({"a": 1}) == {"a": 1}
    after = await completed(shared)
    assert after["cancelled"] == before["cancelled"] + 1


async def test_closing_a_stream_cancels_it_on_the_ranks(shared):
    before = await completed(shared)
    stream = shared.stream({"do": "silent"})
    assert await stream.__anext__() == {"here": True}
    await stream.aclose()
    assert await shared.invoke({"a": 1}) == {"a": 1}
    assert (await completed(shared))["cancelled"] == before["cancelled"] + 1


async def test_leaving_a_stream_cancels_it_on_the_ranks(shared):
    before = await completed(shared)
    async for _ in shared.stream({"do": "silent"}):
        break
    assert await shared.invoke({"a": 1}) == {"a": 1}
    assert (await completed(shared))["cancelled"] == before["cancelled"] + 1


async def test_another_client_may_cancel(shared, tmp_path):
    tell = tmp_path / "tell"
    task = asyncio.create_task(shared.invoke({"do": "sleep", "tell": str(tell)}))
    await until(tell.exists)
    status = await shared.status()
    command = os.environ.get("RANKCALL_COMMAND", "rankcall")
    subprocess.run([command, "cancel", "-j", status["socket"], str(status["running"]["call"])], check=True)
    with pytest.raises(CallCancelledError):
        await task


async def test_32_tasks_at_once(shared):
    async def one(number):
        for turn in range(10):
            assert await shared.invoke({"n": number, "t": turn}) == {"n": number, "t": turn}

    await asyncio.gather(*map(one, range(32)))


async def test_1000_calls_at_once(shared):
    results = await asyncio.gather(*(shared.invoke({"n": number}) for number in range(1000)))
    assert [result["n"] for result in results] == list(range(1000))


async def test_a_waiting_call_can_be_cancelled(shared, tmp_path):
    tell = tmp_path / "tell"
    first = asyncio.create_task(shared.invoke({"do": "sleep", "tell": str(tell)}))
    await until(tell.exists)
    others = [asyncio.create_task(shared.invoke({"do": "note", "file": str(tell), "text": "no"})) for _ in range(300)]
    await asyncio.sleep(0)
    for task in others:
        task.cancel()
    first.cancel()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert await shared.invoke({"a": 1}) == {"a": 1}
    assert tell.read_text() == "began\n"


def test_several_loops_and_threads(shared):
    failures = []

    def thread(number):
        try:
            for turn in range(5):
                assert asyncio.run(shared.invoke({"n": number, "t": turn})) == {"n": number, "t": turn}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert failures == [] and not any(one.is_alive() for one in threads)


def test_connections_of_closed_loops_go(shared):
    before = asyncio.run(shared.status())["connections"]
    for _ in range(20):
        asyncio.run(shared.invoke({}))
    deadline = time.monotonic() + 30
    while asyncio.run(shared.status())["connections"] > before + 2:
        assert time.monotonic() < deadline
    assert len(shared._connections) <= 2


async def test_ready_runners_cannot_be_started_again(shared):
    with pytest.raises(RuntimeError, match="already running"):
        await shared.start()
    assert shared.is_alive()
    shared.ensure_alive()
    assert [error for error in shared.gather_errors() if not isinstance(error, RankcallError)] == []


def test_keepalive_is_a_call(shared):
    before = asyncio.run(shared.invoke({"do": "about"}))["calls"]
    shared.keepalive()
    assert asyncio.run(shared.invoke({"do": "about"}))["calls"] == before + 2


async def test_another_runner_attaches(shared):
    path = (await shared.status())["socket"]
    async with DistributedRunner(job=path) as other:
        assert other.world_size == 2 and other.is_alive()
        assert await other.invoke({"a": 1}) == {"a": 1}
    assert await shared.invoke({"a": 2}) == {"a": 2}
    by_name = DistributedRunner(job=os.path.basename(path)[: -len(".sock")])
    assert await by_name.invoke({"a": 3}) == {"a": 3}
    by_name.terminate()


async def test_the_command_calls_python_workers(shared):
    path = (await shared.status())["socket"]
    command = [os.environ.get("RANKCALL_COMMAND", "rankcall"), "invoke", "-j", path, '{"do": "about"}']
    done = await asyncio.get_running_loop().run_in_executor(
        None, lambda: subprocess.run(command, check=True, stdout=subprocess.PIPE)
    )
    assert json.loads(done.stdout)["world_size"] == 2


def test_the_ranks_output_appears(capfd):
    from workers import General

    async def run():
        async with DistributedRunner(General, 2) as runner:
            await runner.invoke({"do": "output", "text": "good morning"})

    asyncio.run(run())
    out, err = capfd.readouterr()
    assert "[rank 0] good morning\n" in out and "[rank 1] good morning\n" in out
    assert "READY" not in err + out


def test_neither_the_import_nor_the_constructor_needs_a_library():
    text = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numpy", "torch", "PIL", "mpi4py", "pydantic"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import rankcall
class W(rankcall.DistributedWorker): pass
rankcall.DistributedRunner(W, 2); rankcall.DistributedRunner(worker_cls=W, world_size=4, cwd="/", keepalive_interval=3)
"""
    subprocess.run([sys.executable, "-c", text], check=True, env={**os.environ, "PATH": "/nonexistent"}, cwd=PACKAGE_HOME)


PACKAGE_HOME = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["rankcall"].__file__)))


@pytest.mark.parametrize("payload", [[1], 5, "text"])
async def test_a_payload_that_is_no_dict_is_refused(shared, payload):
    with pytest.raises(TypeError, match="has to be a dict"):
        await shared.invoke(payload)


async def test_a_payload_above_the_cap_is_refused():
    numpy = pytest.importorskip("numpy")
    async with DistributedRunner("workers:General", 1, payload_cap="1M") as runner:
        with pytest.raises(RuntimeError, match="bytes"):
            await runner.invoke({"a": numpy.zeros(1 << 20, "u1")})
        assert await runner.invoke({"a": 1}) == {"a": 1}


async def test_stopping_a_guest_leaves_the_job(shared):
    guest = DistributedRunner(job=(await shared.status())["socket"])
    await guest.start()
    await guest.stop()
    assert shared.is_alive() and await shared.invoke({"a": 1}) == {"a": 1}
