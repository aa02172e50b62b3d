# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Workers that use torch.distributed as those written for fal.distributed do."""

import os

from rankcall import DistributedWorker


class Gathers(DistributedWorker):
    """Data-parallel inference: each rank computes, rank 0 gathers."""

    def setup(self, **kwargs):
        import torch

        torch.manual_seed(self.rank)
        self.model = torch.nn.Linear(2, 2, bias=False).to(self.device)
        torch.nn.init.constant_(self.model.weight, self.rank + 1)
        self.regrouped = 0

    def regroup(self):
        self.regrouped += 1

    def __call__(self, value=1.0, fail=None, die=None, skip=None, **kwargs):
        import torch
        import torch.distributed as dist

        if self.rank == fail:
            raise ValueError("before the collective")
        if self.rank == die:
            os._exit(9)
        objects = [{"from": self.rank} if self.rank == 0 else None]
        dist.broadcast_object_list(objects, src=0)
        if self.rank == skip:
            raise ValueError("between collectives")
        with torch.no_grad():
            result = self.model(torch.full((2,), value, device=self.device))
        gather_list = [torch.zeros_like(result) for _ in range(self.world_size)] if self.rank == 0 else None
        dist.gather(result, gather_list, dst=0)
        dist.barrier()
        counts = self.gather([os.getpid(), self.regrouped])
        if self.rank == 0:
            return {
                "outputs": gather_list,
                "objects": objects,
                "counts": counts,
                "environment": {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")},
                "backend": dist.get_backend(),
            }
        return {}


class Trains(DistributedWorker):
    """Distributed data-parallel training."""

    def setup(self, **kwargs):
        import torch
        from torch.nn.parallel import DistributedDataParallel

        torch.manual_seed(0)
        self.model = DistributedDataParallel(torch.nn.Linear(3, 1).to(self.device))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    async def __call__(self, steps=5, bad=False, **kwargs):
        import torch

        if bad:
            raise ValueError("on all ranks")
        for step in range(steps):
            loss = self.model(torch.full((4, 3), float(self.rank))).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.rank == 0:
                self.add_streaming_result({"step": step, "loss": loss.item()}, as_text_event=True)
        weights = self.gather(self.model.module.weight)
        return {"weights": weights}


class Reduces(DistributedWorker):
    """The runtime's own collectives on tensors."""

    def __call__(self, tensor):
        import torch

        return {
            "sum": self.all_reduce(tensor * (self.rank + 1)),
            "type": type(self.broadcast(tensor)).__name__,
            "half": [one.dtype == torch.bfloat16 for one in self.gather(tensor.to(torch.bfloat16)) or ()],
        }


class Without(DistributedWorker):
    torch_distributed = False

    def __call__(self):
        import sys

        return {"imported": "torch" in sys.modules, "device": str(self.device)}


class MayBeWithout(Without):
    torch_distributed = True
