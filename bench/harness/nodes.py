# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of calls on two nodes, in one of tests/cluster/nodes:
`RANKCALL_NODES_TOGETHER=1 nodes with 2 nodes run node1 bench/run --only nodes`."""

import os
import subprocess
import time

from .calls import FLOOR
from .jobs import ask_floor, floor_of_calls, job_of_ours, us
from .measure import Row, in_turns
from .process import Failure

NODES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "cluster", "nodes")
COLD_S = 0.3  # naps have grown to their longest


def spread(bench, ranks):
    """Has mpirun put half of the ranks on each node."""
    path = bench.path(".hosts")
    with open(path, "w") as file:
        file.write("node1 slots=%d\nnode2 slots=%d\n" % (ranks // 2, ranks // 2))
    bench.env.update(OMPI_MCA_orte_default_hostfile=path, OMPI_MCA_mca_base_env_list="LD_LIBRARY_PATH",
                     OMPI_MCA_orte_leave_session_attached="1")
    bench.sessions = "RANKCALL_NODES_TOGETHER" not in os.environ


def hold_all(job):
    """The floor's ranks spin on the other node, too."""
    here = job.hold

    def hold(held):
        here(held)
        subprocess.run([NODES, "run", "node2", "pkill", "-STOP" if held else "-CONT", "-x", "invoke"], check=False)
    job.hold = hold


def nodes(bench, effort):
    if "RANKCALL_NODES" not in os.environ:
        raise Failure("the group nodes runs in a node of tests/cluster/nodes")
    rows = []
    for ranks in (2, 4):
        spread(bench, ranks)
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            hold_all(job)
            job.hold(True)
            for name, pause, calls in (("hot", 0, 200), ("after %.1f s" % COLD_S, COLD_S, 1)):
                row = Row("nodes-256-%d-%s" % (ranks, name.split()[0]),
                          "invoke, 256 B, %d ranks on 2 nodes, %s" % (ranks, name), "us", floor=FLOOR)

                def measure_ours(ours=ours, pause=pause, calls=calls):
                    time.sleep(pause)
                    return us(ours.ask("invoke", "empty", 256, 0 if pause else 50, calls))

                def measure_floor(job=job, floor=floor):
                    return ask_floor(job, floor, "invoke", "-", 256, 50, 200)

                rows.append(in_turns(row, measure_ours, measure_floor, 10, effort, limit_s=15))
    return rows
