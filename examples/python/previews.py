# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Streamed progress: noise is taken out of a photograph, and previews come while it gets better.

    python3 previews.py --ranks 2 --folder previews

Every rank has a strip of the picture and exchanges its border rows with the others in each step. It needs NumPy and
PIL. The result does not depend on the number of ranks.
"""

import argparse
import asyncio
import os

from rankcall import DistributedRunner, DistributedWorker

PHOTOGRAPH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "chelsea.png")


class Denoise(DistributedWorker):
    """Total variation by gradient steps (L. Rudin, S. Osher, E. Fatemi, Physica D 60, 1992): smooth where the picture is
    flat, and sharp at edges."""

    torch_distributed = False

    def __call__(self, picture, steps=60, every=10, strength=0.07, noise=0.0, streaming=False):
        import numpy

        given = numpy.asarray(picture.convert("RGB"), numpy.float64) / 255
        rows = len(given)
        begin, end = rows * self.rank // self.world_size, rows * (self.rank + 1) // self.world_size
        if noise:  # the same on every rank, whatever the strips
            given = given + numpy.random.default_rng(1).normal(0, noise, given.shape)
        target = given[begin:end]
        strip = target.copy()
        for step in range(1, steps + 1):
            self.check_cancelled()
            strip = self.improve(strip, target, strength)
            if streaming and step % every == 0 and step < steps:
                preview = self.assemble(strip)
                if self.rank == 0:
                    self.add_streaming_result({"step": step, "progress": step / steps, "preview": preview}, as_text_event=True)
        result = self.assemble(strip)
        return {"image": result, "steps": steps} if self.rank == 0 else {}

    def improve(self, strip, target, strength, rate=0.05, edge=1e-2):
        import numpy

        above, below = self.neighbours(strip)
        padded = numpy.concatenate((above, strip, below))
        down = numpy.diff(padded, axis=0)  # from each row to the next, the neighbours' too
        right = numpy.diff(padded, axis=1, append=padded[:, -1:])
        size = numpy.sqrt(numpy.concatenate((down, down[-1:])) ** 2 + right**2 + edge**2)
        flow_down, flow_right = down / size[:-1], right / size
        curl = flow_down[1:] - flow_down[:-1] + numpy.diff(flow_right[1:-1], axis=1, prepend=0)
        return strip + rate * (strength * curl - (strip - target) * 0.5)

    def neighbours(self, strip):
        """The last row of the strip above and the first of the one below; the own border at the picture's."""
        borders = self.all_gather([strip[:1], strip[-1:]])
        above = borders[self.rank - 1][1] if self.rank > 0 else strip[:1]
        below = borders[self.rank + 1][0] if self.rank + 1 < self.world_size else strip[-1:]
        return above, below

    def assemble(self, strip):
        """The whole picture at rank 0, None elsewhere."""
        import numpy
        from PIL import Image

        strips = self.gather((strip.clip(0, 1) * 255).round().astype("uint8"))
        return Image.fromarray(numpy.concatenate(strips)) if strips else None


async def main():
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.1, help="that is added first, of a full scale of 1")
    parser.add_argument("--picture", default=PHOTOGRAPH)
    parser.add_argument("--folder", default=".", help="where the previews and the result go")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    payload = {"picture": Image.open(options.picture), "steps": options.steps, "noise": options.noise, "image_format": "png"}
    async with DistributedRunner(Denoise, options.ranks) as runner:
        async for item in runner.stream(payload):
            name = "step-%03d.jpeg" % item["step"] if "step" in item else "result.png"
            (item.get("preview") or item["image"]).save(os.path.join(options.folder, name))
            print("%3.0f %%  %s" % (100 * item.get("progress", 1), name))


if __name__ == "__main__":
    asyncio.run(main())
