# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Data-parallel inference: every rank holds the same language model and embeds its share of the texts; rank 0 gathers.

    python3 search.py --ranks 2 "what happens when a rank is killed?" ../../doc/*.md

The texts are the paragraphs of the files given; the model is described in minilm.py.
"""

import argparse
import asyncio
import re

from rankcall import DistributedRunner, DistributedWorker


class Search(DistributedWorker):
    def setup(self, **kwargs):
        from minilm import MiniLM

        self.model = MiniLM(self.device)
        self.index = None
        self.rank_print("the model is loaded on %s" % self.device)

    def __call__(self, query, texts=None, best=3, **kwargs):
        if texts is not None:
            self.index = self.embed(texts)
            self.texts = texts
        if self.index is None:
            raise ValueError("no texts were given yet")
        if self.rank != 0:
            return {}
        scores = self.index @ self.model([query])[0]
        order = scores.argsort(descending=True)[:best].tolist()
        return {"found": [{"text": self.texts[one], "score": float(scores[one])} for one in order]}

    def embed(self, texts):
        """The embeddings of all texts on rank 0."""
        import torch
        import torch.distributed as dist

        share = -(-len(texts) // self.world_size)  # the same on every rank: the last ones' are filled up
        mine = self.model(texts[self.rank * share : (self.rank + 1) * share])
        result = torch.zeros(share, 384, device=self.device)
        result[: len(mine)] = mine
        gather_list = [torch.zeros_like(result) for _ in range(self.world_size)] if self.rank == 0 else None
        dist.gather(result, gather_list, dst=0)
        return torch.cat(gather_list)[: len(texts)] if self.rank == 0 else result


def paragraphs(paths):
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", file.read()))
            found += [block for block in blocks if len(block) > 60]
    return found


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("query")
    parser.add_argument("file", nargs="+")
    options = parser.parse_args()
    async with DistributedRunner(Search, options.ranks) as runner:
        result = await runner.invoke({"query": options.query, "texts": paragraphs(options.file)})
        for one in result["found"]:
            print("%.3f  %s" % (one["score"], one["text"][:200]))


if __name__ == "__main__":
    asyncio.run(main())
