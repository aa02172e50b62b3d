# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""fal.distributed measured on CPU ranks."""

import asyncio
import os
import time

import cloudpickle
import fal.distributed.worker as original
import torch.distributed as dist
import torch.multiprocessing as mp


class Echo(original.DistributedWorker):
    def initialize(self, **kwargs):
        self.setup(**kwargs)

    def __call__(self, streaming=False, **payload):
        return payload


def rank_main(rank, function, world_size, kwargs):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT="29537")
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    function(**kwargs)
    dist.destroy_process_group()


def launch(function, world_size=1, master_addr="", master_port=0, timeout=0, cwd=None, **kwargs):
    mp.reducer.ForkingPickler = cloudpickle.Pickler  # as the original's own launch
    return mp.spawn(rank_main, args=(function, world_size, kwargs), nprocs=world_size, join=False)


def measure(ranks, payload, count):
    original.launch_distributed_processes = launch

    async def run():
        runner = original.DistributedRunner(Echo, ranks)
        await runner.start()
        times = []
        for _ in range(count):
            start = time.perf_counter()
            await runner.invoke(dict(payload))
            times.append(time.perf_counter() - start)
        await runner.stop()
        return times

    return asyncio.run(run())
