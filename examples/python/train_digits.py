# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Data-parallel training with DistributedDataParallel: the UCI digits, with the loss streamed as it falls.

    python3 train_digits.py --ranks 2 --epochs 10 --checkpoint digits.pt

Every rank trains on other digits, gradients are averaged in each step, and rank 0 saves the network. With --read FILE the
network of that file is used instead: each rank reads its share of the digits that training has not seen.
"""

import argparse
import asyncio
import os

from rankcall import DistributedRunner, DistributedWorker

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "digits.csv")
HOLD_BACK = 5  # the training doesn't see every fifth digit


class Digits(DistributedWorker):
    def setup(self, checkpoint=None, seed=1, **kwargs):
        import torch
        from torch.nn.parallel import DistributedDataParallel

        torch.manual_seed(seed)  # the same network on every rank
        self.network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Linear(256, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 10),
        ).to(self.device)
        if checkpoint:
            self.network.load_state_dict(torch.load(checkpoint, map_location=self.device))
        self.model = DistributedDataParallel(self.network)

    def regroup(self):
        """A rank was replaced: the others' weights are newer than its own."""
        from torch.nn.parallel import DistributedDataParallel

        self.model = DistributedDataParallel(self.network)

    def __call__(self, pixels, digits, epochs=10, rate=0.002, checkpoint=None, streaming=False, **kwargs):
        import torch

        images = torch.as_tensor(pixels, dtype=torch.float32, device=self.device).reshape(-1, 1, 8, 8) / 16
        labels = torch.as_tensor(digits, dtype=torch.int64, device=self.device)
        if epochs == 0:
            return self.read(images, labels)
        unseen = torch.arange(len(images)) % HOLD_BACK == 0
        optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)
        for epoch in range(epochs):
            self.check_cancelled()
            loss = self.train(images[~unseen], labels[~unseen], optimizer, epoch)
            loss = self.all_reduce(loss) / self.world_size
            if self.rank == 0:
                self.add_streaming_result(
                    {"epoch": epoch + 1, "progress": (epoch + 1) / epochs, "loss": loss}, as_text_event=True
                )
        if self.rank == 0 and checkpoint:
            torch.save(self.network.state_dict(), checkpoint)
        return {"checkpoint": checkpoint, **self.read(images[unseen], labels[unseen])}

    def train(self, images, labels, optimizer, epoch, batch=32):
        """One epoch on this rank's digits. Returns the mean loss."""
        import torch

        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        steps = len(images) // (batch * self.world_size)  # the same on every rank
        total = 0.0
        for step in range(steps):
            chosen = order[self.rank :: self.world_size][step * batch : (step + 1) * batch]
            loss = torch.nn.functional.cross_entropy(self.model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # averages the gradients of all ranks
            optimizer.step()
            total += float(loss)
        return total / steps

    def read(self, images, labels):
        """Each rank reads its share."""
        import torch

        with torch.no_grad():
            read = self.network(images[self.rank :: self.world_size]).argmax(1)
        right = int((read == labels[self.rank :: self.world_size]).sum())
        return {"accuracy": self.all_reduce(right) / len(labels), "digits": len(labels)}


def load(path=DATA):
    import numpy

    table = numpy.loadtxt(path, delimiter=",", dtype=numpy.uint8)
    return {"pixels": table[:, :64], "digits": table[:, 64]}


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--checkpoint", default="digits.pt", help="where the network is saved")
    parser.add_argument("--read", metavar="FILE", help="read digits with the network of FILE instead")
    options = parser.parse_args()
    payload = {name: values[::HOLD_BACK] if options.read else values for name, values in load().items()}
    payload.update(epochs=0 if options.read else options.epochs, checkpoint=os.path.abspath(options.checkpoint))
    runner = DistributedRunner(Digits, options.ranks)
    await runner.start(**({"checkpoint": os.path.abspath(options.read)} if options.read else {}))
    async for item in runner.stream(payload):
        if "epoch" in item:
            print("epoch %2d  loss %.4f" % (item["epoch"], item["loss"]))
        else:
            print("%.1f %% of %d digits are read right" % (100 * item["accuracy"], item["digits"]))
    await runner.stop()


if __name__ == "__main__":
    asyncio.run(main())
