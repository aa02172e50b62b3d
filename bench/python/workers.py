# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What the benchmark calls."""

from rankcall import DistributedWorker


class Echo(DistributedWorker):
    torch_distributed = False

    def setup(self, **kwargs):
        self.made = {}

    def __call__(self, make=None, give=None, streaming=False, **payload):
        """make: bytes of an array to have ready; give: "made", that array, or "kept", one that the worker keeps."""
        if make is not None and self.rank == 0:
            import numpy

            self.made["made"] = numpy.ones(make, numpy.uint8)
            self.made.setdefault("kept", self.made["made"].copy())
        if give is not None and self.rank == 0:
            return {"data": self.made["kept"] if give == "kept" else self.made.pop("made")}
        return {name: value for name, value in payload.items() if name != "data"}
