# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A photograph in few colours: k-means over its pixels, each rank with its share of the rows.

Every step streams a preview. The result is the picture in its final colours.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from rankcall import DistributedWorker

PHOTO = Path(__file__).resolve().parents[2] / "data" / "coffee.png"


class Painter(DistributedWorker):
    def setup(self, photo=PHOTO, **kwargs):
        pixels = np.asarray(Image.open(photo).convert("RGB"), dtype=np.float32)
        self.rows = np.array_split(pixels, self.world_size)[self.rank]
        self.rank_print("has %d of %d rows" % (len(self.rows), len(pixels)))

    def __call__(self, colours=8, steps=12, streaming=False, **kwargs):
        pixels = self.rows.reshape(-1, 3)
        start = np.random.default_rng(7).choice(pixels, colours, replace=False)  # each rank of its own rows
        palette = np.array(self.broadcast(start))
        for step in range(steps):
            self.check_cancelled()  # the browser may have gone
            nearest = self.nearest(pixels, palette)
            sums = np.zeros((colours, 4), np.float64)
            np.add.at(sums, nearest, np.c_[pixels, np.ones(len(pixels))])
            sums = self.all_reduce(sums)
            used = sums[:, 3] > 0
            palette[used] = (sums[used, :3] / sums[used, 3:]).astype(np.float32)
            if streaming:
                picture = self.picture(pixels, palette)
                if self.rank == 0:
                    event = {"step": step + 1, "progress": (step + 1) / steps, "preview": picture}
                    self.add_streaming_result(event, as_text_event=True)
        picture = self.picture(pixels, palette)
        if self.rank == 0:
            return {"colours": palette.round().astype(int).tolist(), "image": picture}
        return {}

    def nearest(self, pixels, palette):
        distances = [np.sum((pixels - colour) ** 2, axis=1) for colour in palette]
        return np.argmin(distances, axis=0)

    def picture(self, pixels, palette):
        """The whole picture at rank 0, None elsewhere."""
        mine = palette[self.nearest(pixels, palette)].reshape(self.rows.shape).astype(np.uint8)
        parts = self.gather(mine)
        return Image.fromarray(np.concatenate(parts)) if self.rank == 0 else None
