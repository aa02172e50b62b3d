# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What the benchmark calls."""

from rankcall import DistributedWorker


class Echo(DistributedWorker):
    torch_distributed = False

    def __call__(self, size=None, streaming=False, **payload):
        if size is not None:
            import numpy

            return {"data": numpy.ones(size, numpy.uint8)} if self.rank == 0 else {}
        return {name: value for name, value in payload.items() if name != "data"}
