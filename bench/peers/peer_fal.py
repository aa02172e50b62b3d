# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""fal's distributed runner. It is made for GPUs: here its group runs on gloo, torch's backend for CPUs, and its worker has
no device. A worker's events that are not yet sent when its handler returns are dropped, so the handler waits for them."""

import asyncio
import importlib.metadata
import socket
import time

import torch
import torch.distributed
from fal.distributed import DistributedRunner, DistributedWorker

from driver import EVENT, Peer, serve

init_process_group = torch.distributed.init_process_group


def init_on_cpus(**options):
    options.update(backend="gloo")
    options.pop("device_id", None)
    init_process_group(**options)


# Also in the workers: each of them imports this file again.
torch.distributed.init_process_group = init_on_cpus
torch.cuda.set_device = lambda device: None


class Worker(DistributedWorker):
    device = torch.device("cpu")

    def __call__(self, streaming=False, payload=b"", events=0):
        if self.rank == 0:
            for _ in range(events):
                self.add_streaming_result(EVENT)
            while not self.queue.empty():
                time.sleep(0.001)
        return {}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Runner(Peer):
    name = "fal.distributed %s (torch %s, gloo)" % (importlib.metadata.version("fal"), torch.__version__.split("+")[0])
    runner = None

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def start(self, workers):
        self.runner = DistributedRunner(Worker, workers, master_port=free_port())
        self.loop.run_until_complete(self.runner.start())

    def call(self, payload):
        self.loop.run_until_complete(self.runner.invoke({"payload": payload}))

    def burst(self, events):
        items = self.runner.stream({"events": events}).__aiter__()
        while True:
            try:
                item = self.loop.run_until_complete(items.__anext__())
            except StopAsyncIteration:
                return
            if item == EVENT:
                yield item

    def stop(self):
        if self.runner:
            self.loop.run_until_complete(self.runner.stop())


if __name__ == "__main__":
    serve(Runner())
