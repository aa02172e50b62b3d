# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Ray: actors that are called and gathered, or the same actors as a compiled graph. Events come by a streaming generator.

    peer_ray.py actors|graph
"""

import os
import sys

import ray

from driver import EVENT, Peer, serve


@ray.remote
class Worker:
    def pid(self):
        return os.getpid()

    def answer(self, payload):
        return None

    def burst(self, events):
        for _ in range(events):
            yield EVENT


class Actors(Peer):
    name = "Ray %s actors" % ray.__version__

    def start(self, workers):
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, _temp_dir=os.path.abspath("ray"),
                 object_store_memory=100 << 20)
        self.workers = [Worker.remote() for _ in range(workers)]

    def call(self, payload):
        ray.get([worker.answer.remote(payload) for worker in self.workers])

    def burst(self, events):
        for event in self.workers[0].burst.options(num_returns="streaming").remote(events):
            yield ray.get(event)

    def stop(self):
        ray.shutdown()


class Graph(Actors):
    """Its actors wait by looking, without end."""

    name = "Ray %s compiled graph" % ray.__version__
    graph = None

    def start(self, workers):
        super().start(workers)
        self.spinning = ray.get([worker.pid.remote() for worker in self.workers])
        with ray.dag.InputNode() as payload:
            answers = [worker.answer.bind(payload) for worker in self.workers]
        self.graph = ray.dag.MultiOutputNode(answers).experimental_compile()

    def call(self, payload):
        ray.get(self.graph.execute(payload))

    def burst(self, events):
        raise NotImplementedError("a compiled graph does not stream")

    def stop(self):
        if self.graph:
            self.graph.teardown()
        super().stop()


if __name__ == "__main__":
    import ray.dag
    serve({"actors": Actors, "graph": Graph}[sys.argv[1]]())
