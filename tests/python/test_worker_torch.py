# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""torch.distributed in the ranks: there before setup, and back after failures and deaths."""

import asyncio
import time

import pytest

torch = pytest.importorskip("torch")
import torch_workers as workers  # noqa: E402

from rankcall import DistributedRunner, RankDiedError, WorkerError  # noqa: E402

ENVIRONMENT = {"RANKCALL_TORCH": "1"}


def outputs(ranks, value=1.0):
    return [[2 * value * (rank + 1)] * 2 for rank in range(ranks)]


@pytest.mark.parametrize("ranks", (1, 2, 4))
async def test_the_group_is_there(ranks):
    async with DistributedRunner(workers.Gathers, ranks, env=ENVIRONMENT) as runner:
        for value in (1.0, 3.0):
            found = await runner.invoke({"value": value})
            assert [one.tolist() for one in found["outputs"]] == outputs(ranks, value)
            assert found["objects"] == [{"from": 0}]
            assert found["environment"] == {
                "RANK": "0",
                "WORLD_SIZE": str(ranks),
                "MASTER_ADDR": "127.0.0.1",
                "LOCAL_RANK": "0",
            }
            assert found["backend"] == ("nccl" if torch.cuda.device_count() >= ranks else "gloo")


async def test_two_jobs_at_once_have_stores_of_their_own():
    first, second = (DistributedRunner(workers.Gathers, 2, env=ENVIRONMENT) for _ in range(2))
    await asyncio.gather(first.start(), second.start())
    for runner in (first, second):
        assert [one.tolist() for one in (await runner.invoke())["outputs"]] == outputs(2)
    await asyncio.gather(first.stop(), second.stop())


@pytest.mark.parametrize("how", ("fail", "skip"))
@pytest.mark.parametrize("rank", (0, 1, 2))
async def test_ranks_in_a_collective_of_torch_come_back_when_one_fails(how, rank):
    async with DistributedRunner(workers.Gathers, 3, env=ENVIRONMENT) as runner:
        pids = [one[0] for one in (await runner.invoke())["counts"]]
        for failures in (1, 2):
            began = time.monotonic()
            with pytest.raises(WorkerError, match="collective") as caught:
                await runner.invoke({how: rank})
            assert caught.value.rank == rank
            found = await runner.invoke({"value": 2.0})
            assert time.monotonic() - began < 20, "the ranks came back by being killed"
            assert [one.tolist() for one in found["outputs"]] == outputs(3, 2.0)
            assert found["counts"] == [[pid, failures] for pid in pids]


@pytest.mark.parametrize("rank", (0, 1))
async def test_the_group_is_new_when_a_rank_was_replaced(rank):
    async with DistributedRunner(workers.Gathers, 2, env=ENVIRONMENT) as runner:
        pids = [one[0] for one in (await runner.invoke())["counts"]]
        for deaths in (1, 2):
            with pytest.raises(RankDiedError):
                await runner.invoke({"die": rank})
            found = await runner.invoke()
            assert [one.tolist() for one in found["outputs"]] == outputs(2)
            assert found["counts"][1 - rank] == [pids[1 - rank], deaths]
            assert found["counts"][rank][1] == 0


async def test_training_goes_on_after_a_failure_of_all_ranks():
    async with DistributedRunner(workers.Trains, 2, env=ENVIRONMENT) as runner:
        for _ in range(2):
            items = [one async for one in runner.stream({"steps": 4})]
            assert [one["step"] for one in items[:-1]] == [0, 1, 2, 3]
            first, second = items[-1]["weights"]
            assert torch.equal(first, second)
            with pytest.raises(WorkerError, match="on all ranks"):
                await runner.invoke({"bad": True})


async def test_tensors_in_collectives():
    async with DistributedRunner(workers.Reduces, 2, torch_distributed=False) as runner:
        tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
        found = await runner.invoke({"tensor": tensor})
        assert torch.equal(found["sum"], 3 * tensor)
        assert found["type"] == "Tensor"
        assert found["half"] == [True, True]


@pytest.mark.parametrize("worker, torch_distributed", ((workers.Without, True), (workers.MayBeWithout, False)))
async def test_it_can_be_switched_off(worker, torch_distributed):
    async with DistributedRunner(worker, 2, env=ENVIRONMENT, torch_distributed=torch_distributed) as runner:
        found = await runner.invoke()
        assert found["imported"] is False
        assert found["device"].startswith(("cpu", "cuda"))
