# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The worker of python-worker.sh: every rank adds up its share of the values."""

from rankcall.worker import DistributedWorker


class Mean(DistributedWorker):
    torch_distributed = False

    def __call__(self, values):
        mine = values[self.rank :: self.world_size]
        return {"mean": self.all_reduce(float(sum(mine))) / len(values), "ranks": self.world_size}
