# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Arrays between C's memory and Python's, and the collectives."""

import asyncio
import gc

import pytest
import rank_workers as workers

from rankcall import DistributedRunner, WorkerError
from rankcall._native import is_ours_alone

numpy = pytest.importorskip("numpy")


@pytest.mark.parametrize("ranks", (1, 2, 3))
async def test_arrays_may_be_changed_and_kept(ranks):
    async with DistributedRunner(workers.Arrays, ranks) as runner:
        sizes = (1, 10, 5000, 200000)
        for size in sizes:
            sums = await runner.invoke({"do": "keep", "array": numpy.ones(size, numpy.int64)})
            assert sums == [size * (1 + rank) for rank in range(ranks)]
        await runner.invoke({"do": "fresh", "size": 1 << 22, "value": 255})
        gc.collect()
        assert await runner.invoke({"do": "sums"}) == [[size * (1 + rank) for size in sizes] for rank in range(ranks)]


async def test_a_result_is_what_it_was_when_it_was_returned():
    size = 8 << 20
    async with DistributedRunner(workers.Arrays, 2) as runner:
        calls = [asyncio.ensure_future(runner.invoke({"do": "reuse", "size": size})) for _ in range(6)]
        for number, call in enumerate(calls, 1):
            array = (await call)["array"]
            assert array.min() == array.max() == number


async def test_memory_that_was_lent_for_a_result_comes_back():
    async with DistributedRunner(workers.Arrays, 1) as runner:
        for value in range(5):
            array = (await runner.invoke({"do": "fresh", "size": 1 << 20, "value": value}))["array"]
            assert (array == value).all()
        for _ in range(200):
            if await runner.invoke({"do": "lent"}) == 0:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("results' memory is kept")


def received():
    """An array as unflatten makes it."""
    return numpy.frombuffer(memoryview(bytearray(64)), numpy.int32).reshape(4, 4)


def test_memory_is_lent_only_when_nobody_else_refers_to_it():
    alone = [
        is_ours_alone(memoryview(b"x" * 64)),
        is_ours_alone(memoryview(numpy.ones(64)).cast("B")),
        is_ours_alone(memoryview(received()).cast("B")),
    ]
    kept, view, raw = numpy.ones(64), received(), bytearray(64)
    shared = [
        is_ours_alone(memoryview(kept).cast("B")),
        is_ours_alone(memoryview(kept[8:]).cast("B")),
        is_ours_alone(memoryview(view[1:]).cast("B")),
        is_ours_alone(memoryview(numpy.frombuffer(raw, numpy.int32)).cast("B")),
    ]
    base = view.base
    del view
    shared.append(is_ours_alone(memoryview(base[1:]).cast("B")))
    assert (alone, shared) == ([True] * 3, [False] * 5)  # not asserted at once: pytest keeps what it compares


@pytest.mark.parametrize("ranks", (1, 2, 4))
async def test_reductions(ranks):
    async with DistributedRunner(workers.Together, ranks) as runner:
        for root in (0, ranks - 1):
            found = await runner.invoke({"what": "numbers", "root": root})
            expected = ranks * numpy.arange(6).reshape(2, 3) + sum(range(ranks))
            assert found["sum"].dtype == numpy.float32
            assert (found["sum"] == expected).all()
            assert (found["big"] == expected).all()
            assert found["max"] == 1.5 * (ranks - 1)
            assert found["int"] == numpy.prod(range(1, ranks + 1))
            assert found["min"] == 0
            assert found["root"] == [rank == root for rank in range(ranks)]


@pytest.mark.parametrize("ranks", (1, 2, 4))
async def test_values_of_any_kind_and_size(ranks):
    async with DistributedRunner(workers.Together, ranks) as runner:
        for root in (0, ranks - 1):
            found = await runner.invoke({"what": "values", "root": root})
            assert found["broadcast"]["from"] == root
            assert found["broadcast"]["raw"] == b"\0\1" * root
            for everyone in [found["gathered"], *found["everywhere"]]:
                assert [one["from"] for one in everyone] == list(range(ranks))
                assert [one["array"].shape for one in everyone] == [(rank, 2) for rank in range(ranks)]
                assert all((one["array"] == rank).all() for rank, one in enumerate(everyone))
            assert found["scattered"] == ["part %d" % rank * rank for rank in range(ranks)]


async def test_wrong_uses_of_collectives_are_told():
    async with DistributedRunner(workers.Together, 2) as runner:
        errors = await runner.invoke({"what": "errors"})
        assert [error.split(":")[0] for error in errors[:3]] == ["TypeError", "ValueError", "TypeError"]
        assert "root 99 is none of the 2 ranks" in errors[3]
        with pytest.raises(WorkerError, match="rank"):
            await runner.invoke({"what": "uneven"})
        assert await runner.invoke({"what": "errors"}) == errors


async def test_mpi4py_takes_the_communicator():
    pytest.importorskip("mpi4py")
    async with DistributedRunner(workers.Together, 3) as runner:
        assert await runner.invoke({"what": "mpi"}) == {"sum": 6, "rank": 0, "size": 3}


def test_collectives_need_a_job():
    worker = workers.Together()
    try:
        for use in (worker.barrier, lambda: worker.gather(1), lambda: worker.comm):
            with pytest.raises(RuntimeError, match="not in a job"):
                use()
    finally:
        worker.shutdown()
