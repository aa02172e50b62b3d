# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What a Python rank makes of calls: arguments, results, events, failures."""

import asyncio
import os
import re
import time

import pytest
import rank_workers as workers

from rankcall import CallCancelledError, DistributedRunner, WorkerError


async def test_a_handler_gets_only_what_it_takes():
    async with DistributedRunner(workers.Plain, 2) as runner:
        assert await runner.invoke({"a": 1}) == {"a": 1, "b": 2, "rank": 0, "size": 2, "running": True}
        assert (await runner.invoke({"a": 1, "image_format": "png"}))["a"] == 1
        with pytest.raises(WorkerError, match=r'Plain.__call__\(\) does not take the payload\'s "c"; it takes a, b'):
            await runner.invoke({"a": 1, "c": 3})
        with pytest.raises(WorkerError, match="missing 1 required positional argument: 'a'"):
            await runner.invoke({})
        assert [one async for one in runner.stream({"a": 5})][-1]["a"] == 5


async def test_streaming_says_how_the_client_called():
    async with DistributedRunner(workers.Flags, 1) as runner:
        assert await runner.invoke({}) == {"streaming": False}
        assert await runner.invoke({"streaming": True}) == {"streaming": False}
        assert [one async for one in runner.stream({})] == [{"streaming": True}]


async def test_image_format_picks_that_of_the_result():
    pytest.importorskip("PIL")
    async with DistributedRunner(workers.Flags, 1) as runner:
        for wanted in ("jpeg", "png"):
            result = await runner.invoke({"picture": True, "image_format": wanted})
            assert result["picture"].format == wanted.upper()
            assert result["picture"].size == (8, 4)


async def test_coroutines_share_a_loop_that_runs_between_calls(tmp_path):
    runner = DistributedRunner(workers.Coroutines, 2)
    await runner.start(folder=str(tmp_path))
    first = await runner.invoke({})
    assert first["loop"]
    deadline = time.monotonic() + 20
    while (await runner.invoke({}))["ticks"] <= first["ticks"] + 5:
        assert time.monotonic() < deadline, "the background task stands still between calls"
        await asyncio.sleep(0.02)
    await runner.stop()
    assert sorted(os.listdir(tmp_path)) == ["down.0", "down.1"]


async def test_an_earlier_calls_task_has_no_part_in_a_later_call(tmp_path):
    runner = DistributedRunner(workers.Coroutines, 1)
    await runner.start(folder=str(tmp_path))
    await runner.invoke({"late": True})
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        got = [one async for one in runner.stream({})]
        assert len(got) == 1
    assert got[0]["late"][0] is False and "there is none" in got[0]["late"][1]
    await runner.stop()


@pytest.mark.parametrize("ranks", (1, 2, 4))
async def test_of_twenty_thousand_events_of_every_rank_none_is_lost(ranks):
    count = 20000
    async with DistributedRunner(workers.Events, ranks) as runner:
        seen = [0] * ranks
        async for item in runner.stream({"count": count}):
            if isinstance(item, list):
                rank, _thread, number = item
                assert number == seen[rank], "an event is missing or out of order"
                seen[rank] += 1
        assert seen == [count] * ranks
        assert await runner.invoke({"count": 3}) == {"streaming": False}


async def test_events_may_come_from_several_threads():
    async with DistributedRunner(workers.Events, 2) as runner:
        seen = {}
        async for item in runner.stream({"count": 500, "threads": 3, "error": "oh"}):
            if isinstance(item, list):
                seen.setdefault(tuple(item[:2]), []).append(item[2])
            elif "error" in item:
                assert item == {"error": "oh"}
        assert seen == {(rank, thread): list(range(500)) for rank in range(2) for thread in range(3)}


@pytest.mark.parametrize("ranks, on", ((1, 0), (2, 0), (2, 1), (2, None), (3, 1)))
async def test_an_exception_fails_the_call_with_its_place(ranks, on):
    async with DistributedRunner(workers.Failing, ranks) as runner:
        with pytest.raises(RuntimeError) as caught:
            await runner.invoke({"how": "value", "on": on})
        error = caught.value
        assert isinstance(error, WorkerError)
        assert error.rank == on or (on is None and error.rank in range(ranks))
        assert error.message.startswith("ValueError: two lines, "), error.message
        assert "\n" not in error.message
        assert 'raise ValueError("two\\nlines' in error.traceback
        assert error.traceback.count("rankcall/_") == 0, "frames of the package itself"
        assert error.host
        assert (await runner.invoke({"how": "nothing"})) == {"fine": True}


EXITS = (("exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt"), ("empty", "RuntimeError"))


@pytest.mark.parametrize("how, text", EXITS)
async def test_an_exit_in_a_handler_is_a_failure_of_the_call(how, text):
    async with DistributedRunner(workers.Failing, 2) as runner:
        with pytest.raises(WorkerError) as caught:
            await runner.invoke({"how": how, "on": 1})
        assert caught.value.message == text
        assert caught.value.rank == 1
        assert (await runner.invoke({"how": "nothing"})) == {"fine": True}


@pytest.mark.parametrize("how, path", (("result", r'result\["a"\]\[3\]'), ("event", r'event\["b"\]')))
async def test_what_cannot_be_sent_is_named_by_its_path(how, path):
    async with DistributedRunner(workers.Failing, 2) as runner:
        with pytest.raises(WorkerError, match="TypeError: " + path):
            async for _ in runner.stream({"how": how, "on": 0}):
                pass


async def test_ranks_in_a_collective_come_back_when_another_fails():
    async with DistributedRunner(workers.Together, 3) as runner:
        for failing in (0, 1, 2):
            with pytest.raises(WorkerError, match="ValueError: not here") as caught:
                await runner.invoke({"what": "fail", "root": failing})
            assert caught.value.rank == failing
            assert len(await runner.invoke({"what": "errors"})) == 4


@pytest.mark.parametrize("on", (0, 1, None))
@pytest.mark.parametrize("how, text", (("value", "OSError: no weights on rank"), ("exit", "SystemExit: setup leaves")))
async def test_a_setup_that_fails_says_where(on, how, text):
    runner = DistributedRunner(workers.Broken, 2)
    with pytest.raises(RuntimeError) as caught:
        await runner.start(on=on, how=how)
    assert text in str(caught.value)
    assert on is None or caught.value.rank == on
    assert "in setup" in caught.value.traceback
    assert not runner.is_alive()


async def test_an_own_init_is_called_with_rank_and_size():
    async with DistributedRunner(workers.OwnInit, 2) as runner:
        assert await runner.invoke() == [0, 2]
    with pytest.raises(RuntimeError, match=re.escape("must call super().__init__(rank, world_size)")):
        await DistributedRunner(workers.NoInit, 2).start()


async def test_names_of_the_base_class_may_be_used():
    async with DistributedRunner(workers.Names, 2) as runner:
        assert await runner.invoke() == ["own"] * 4 + [0]


async def test_all_ranks_leave_a_cancelled_call_together():
    async with DistributedRunner(workers.Together, 3, restarts=0) as runner:
        for root in (0, 1):
            call = asyncio.ensure_future(runner.invoke({"what": "wait", "root": root}))
            await asyncio.sleep(0.1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert len(await runner.invoke({"what": "errors"})) == 4
        with pytest.raises((TimeoutError, CallCancelledError)):
            await runner.invoke({"what": "wait"}, timeout=0.2)
        assert len(await runner.invoke({"what": "errors"})) == 4
