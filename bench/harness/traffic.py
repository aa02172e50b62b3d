# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of counts, not of times: what the ranks send for a call. In one of tests/cluster/nodes on as many nodes as it
has, else on one machine, whose ranks then believe to be on several."""

import glob
import json
import os
import subprocess

from .measure import Row
from .process import Driver, Failure, Mpirun

CALLS = 200
TOGETHER = (2, 4, 8, 16, 32, 64)
PRETENDED = ((16, 2), (16, 4), (16, 8), (16, 16))  # ranks, nodes


def ask(bench, path, handler):
    line = [bench.program("rankcall"), "invoke", "-j", path, "-H", handler]
    done = subprocess.run(line, env=bench.env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Failure("%s: ended with status %d" % (" ".join(line), done.returncode))
    return json.loads(done.stdout)


def count(bench, ranks, env, hostfile=None):
    """What every rank sends for a call, in the mean."""
    path = bench.path(".sock")
    if hostfile:
        bench.env.update(OMPI_MCA_orte_default_hostfile=hostfile, OMPI_MCA_mca_base_env_list="LD_LIBRARY_PATH")
    job = Mpirun(bench, ranks, "bench/traffic", "--socket", path, env=env)
    client = Driver(bench, "bench/client", path)
    client.ask("invoke", "empty", 0, 0, 1)  # READY
    ask(bench, path, "begin")
    client.ask("invoke", "empty", 256, 0, CALLS)
    counts = ask(bench, path, "end")["ranks"]
    client.tell("stop")
    client.finish()
    job.wait()
    return [{key: rank[key] / (CALLS + 1) for key in ("messages", "words", "wakes")} | {"to": rank["to"]}
            for rank in counts]


def depth(ranks, rank=0):
    return max([1 + depth(ranks, other) for other in ranks[rank]["to"] if other > rank], default=0)


def rows_of(ranks, nodes, counts):
    levels = (nodes - 1).bit_length()
    where = "%d ranks on %d node%s" % (ranks, nodes, "s" * (nodes > 1))
    key = "traffic-%%s-%d-%d" % (ranks, nodes)

    def row(name, text, value, target=None):
        made = Row(key % name, "%s: %s" % (where, text), "a call", target=target)
        made.ours.add([value])
        return made

    rows = [row("wakes", "rank 0's wake-ups", counts[0]["wakes"], 3 + levels)]
    if nodes == 1:
        return [row("messages", "messages", sum(one["messages"] + one["words"] for one in counts), 0)] + rows
    return [row("messages", "rank 0's messages", counts[0]["messages"], levels),
            row("most", "the most of a rank", max(one["messages"] for one in counts), levels),
            row("all", "all messages", sum(one["messages"] for one in counts), 2 * (nodes - 1)),
            row("depth", "one after the other, down", depth(counts), levels),
            row("words", "rank 0's words on links", counts[0]["words"])] + rows


def traffic(bench, _):
    rows = []
    for ranks in TOGETHER:
        rows += rows_of(ranks, 1, count(bench, ranks, {}))
    if "RANKCALL_NODES" not in os.environ:
        for ranks, nodes in PRETENDED:
            rows += rows_of(ranks, nodes, count(bench, ranks, {"RANKCALL_TEST_NODES": str(nodes)}))
        return rows
    folder = os.path.join(os.environ["RANKCALL_NODES_BASE"], "rankcall-nodes." + os.environ["RANKCALL_NODES"])
    for nodes in range(2, len(glob.glob(os.path.join(folder, "node*.sock"))) + 1):
        path = bench.path(".hosts")
        with open(path, "w") as file:
            file.write("".join("node%d slots=1\n" % (1 + i) for i in range(nodes)))
        rows += rows_of(nodes, nodes, count(bench, nodes, {}, path))
    return rows
