# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Workers: the class, and the program that each rank runs.

mpirun -n 4 python3 -m rankcall.worker module:Class
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Optional, Sequence

from rankcall._worker import Device, DistributedWorker

__all__ = ["Device", "DistributedWorker", "main"]

EXIT_PATIENCE_S = 5.0  # for threads of the worker's own that don't end with the job


def _share_cores() -> None:
    """Gives each rank of the node its part of the cores, before a library that counts them is imported."""
    ranks = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or "1"
    cores = len(os.sched_getaffinity(0))
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // int(ranks)) if ranks.isdigit() else 1)
        os.environ["RANKCALL_OMP"] = "1"  # the user did not say it


def _end_for_sure(status: int) -> None:
    """Ends the process, also when a thread that is no daemon goes on."""
    timer = threading.Timer(EXIT_PATIENCE_S, os._exit, (status,))
    timer.daemon = True
    timer.start()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs this process as a rank until its job ends. Returns the exit status."""
    from rankcall._options import parse_options

    chief = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMIX_RANK", "0")) == "0"
    if not chief:  # one usage message is enough
        saved, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: SIM115
        try:
            options = parse_options(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stderr = saved
    else:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
    _share_cores()
    from rankcall._loading import enter_folder
    from rankcall._rank import Rank

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    enter_folder(options)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the library has its own handler; asyncio shall not take it away
    status = Rank(options).run()
    _end_for_sure(status)
    return status


if __name__ == "__main__":
    # This module as __main__ is another than rankcall.worker, which workers import.
    from rankcall.worker import main as the_main

    sys.exit(the_main())
