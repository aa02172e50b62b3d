# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""mpi4py.futures: a pool of workers that MPI spawned, one task for each of them. A pool hands tasks to whom is free: it
neither promises that every worker gets one, nor streams."""

from driver import Peer, serve


def answer(payload):
    return None


class Futures(Peer):
    pool = None

    def start(self, workers):
        import mpi4py.futures  # here, for it is MPI_Init
        from mpi4py import MPI
        self.name = "mpi4py.futures %s (%s)" % (mpi4py.__version__, MPI.Get_library_version().split(",")[0])
        self.workers = workers
        self.pool = mpi4py.futures.MPIPoolExecutor(workers)
        self.pool.bootup()

    def call(self, payload):
        for future in [self.pool.submit(answer, payload) for _ in range(self.workers)]:
            future.result()

    def stop(self):
        if self.pool:
            self.pool.shutdown()


if __name__ == "__main__":
    serve(Futures())
