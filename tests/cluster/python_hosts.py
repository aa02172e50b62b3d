# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A Python runner whose ranks are on the hosts that it names: python_hosts.py HOST:SLOTS... Prints what it saw as JSON."""

import asyncio
import json
import os
import sys

from rankcall import DistributedRunner, DistributedWorker


class Hosts(DistributedWorker):
    def setup(self, base):
        self.base = base

    def __call__(self, streaming, data, events):
        for number in range(events):
            self.add_streaming_result({"rank": self.rank, "number": number})
        return {"hosts": self.gather(os.uname().nodename), "sizes": self.gather(len(data) + self.base)}


async def main(hosts):
    ranks = sum(int(host.split(":")[1]) for host in hosts)
    runner = DistributedRunner(Hosts, ranks, hosts=hosts)
    await runner.start(base=7)
    try:
        result = await runner.invoke({"data": bytes(1 << 20), "events": 0})
        seen = [[] for _ in range(ranks)]
        async for item in runner.stream({"data": b"", "events": 500}):
            if "rank" in item:
                seen[item["rank"]].append(item["number"])
        status = [rank["host"] for rank in (await runner.status())["ranks"]]
    finally:
        await runner.stop()
    in_order = [numbers == list(range(500)) for numbers in seen]
    print(json.dumps({**result, "in_order": in_order, "status": status}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
