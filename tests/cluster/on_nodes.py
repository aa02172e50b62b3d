# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Jobs on the nodes of tests/cluster/nodes: how they are started, and looked at from outside. For the tests that run in its
node1 (tests/cluster/run-nodes starts them there)."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
import harness  # noqa: E402
from harness import equal  # noqa: E402
from strangers_client import JobError  # noqa: E402

NODES = os.path.join(HERE, "nodes")
FOUR = "node1:2,node2:2"


def on(node, *words):
    """What a command in a node prints."""
    return subprocess.run([NODES, "run", node, *words], check=True, capture_output=True, text=True).stdout


def nodes(*words):
    subprocess.run([NODES, *words], check=True)


def ranks_of(client):
    return client.status(wait=True)["ranks"]


def start(t, hosts, ranks=None, **options):
    # The ranks of a job that loses a node may live on there for a moment, out of anybody's reach.
    options.setdefault("run_options", ())
    os.environ.pop("RANKCALL_TEST_HOSTS", None)
    harness.HOSTS = hosts
    return t.start(ranks=ranks or t.ranks, **options)


def expect_work(job, ranks):
    """The next call succeeds, at whatever rank 0 there is by then."""
    for _ in range(3):
        try:
            with job.connect() as client:
                equal(client.invoke("sum", {"value": 1.0}).json, {"sum": ranks * (ranks + 1) / 2})
                return ranks_of(client)
        except (ConnectionError, JobError) as failure:
            last = failure
    raise AssertionError("no call succeeds: %s" % last)


def main(title):
    if "RANKCALL_NODES" not in os.environ:
        print("skip   not in a node of tests/cluster/nodes")
        sys.exit(77)
    harness.main(title)
