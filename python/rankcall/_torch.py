# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""torch.distributed in a job: its process group is made before setup, and anew when ranks were replaced.

A rank that waits in one of torch's collectives for another whose handler has failed would wait for ever. If it does not come
back soon (see _watch.py), its connections of the process group are shut down, which makes torch's collectives fail. The
next call makes the group anew, and calls the worker's ``regroup``.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib.util
import json
import os
import socket
import stat
from typing import TYPE_CHECKING, Any, Dict

from rankcall._collectives import Collectives
from rankcall._gpu import all_differ

if TYPE_CHECKING:
    from rankcall._rank import Rank

MESSAGE_SIZE = 512  # bytes of rank 0's word about its store
FAILED, WITHOUT, WITH = range(3)


class Group:
    """The default process group of one rank."""

    def __init__(self, rank: "Rank") -> None:
        self.rank = rank
        self.wanted = False
        self.broken = False
        self.seen = 0  # the last interrupted call that the ranks have talked about
        self.sockets: Dict[int, int] = {}  # of the group: descriptor and inode

    # ---- What ranks say to each other where there is no call yet ----

    def agree(self, ready: bool, wanted: bool) -> bool:
        """Whether all ranks are ready; decides whether a process group is made. Collective."""
        mine = FAILED if not ready else WITH if wanted and self._possible() else WITHOUT
        worst = self.smallest(mine)
        self.wanted = worst == WITH
        return worst != FAILED

    def _possible(self) -> bool:
        return self.rank.options.torch and importlib.util.find_spec("torch") is not None

    def smallest(self, value: int) -> int:
        """The least of the ranks' values. Collective."""
        library = self.rank.library
        mine, least = ctypes.c_int(value), ctypes.c_int()
        kind, operation = library.mpi_object("ompi_mpi_int"), library.mpi_object("ompi_mpi_op_min")
        comm = library.comm(self.rank.context)
        if library.MPI_Allreduce(ctypes.byref(mine), ctypes.byref(least), 1, kind, operation, comm):
            raise RuntimeError("MPI_Allreduce failed")
        return least.value

    def tell(self, message: Dict[str, Any]) -> Dict[str, Any]:
        """Rank 0's message on all ranks. Collective."""
        library = self.rank.library
        text = ctypes.create_string_buffer(json.dumps(message).encode(), MESSAGE_SIZE)
        kind, comm = library.mpi_object("ompi_mpi_byte"), library.comm(self.rank.context)
        if library.MPI_Bcast(text, MESSAGE_SIZE, kind, 0, comm):
            raise RuntimeError("MPI_Bcast failed")
        told: Dict[str, Any] = json.loads(text.value)
        return told

    def all(self, text: str) -> "list[str]":
        """What each rank says. Collective."""
        library, size = self.rank.library, self.rank.world_size
        mine = ctypes.create_string_buffer(text.encode()[: MESSAGE_SIZE - 1], MESSAGE_SIZE)
        them = ctypes.create_string_buffer(MESSAGE_SIZE * size)
        kind, comm = library.mpi_object("ompi_mpi_byte"), library.comm(self.rank.context)
        if library.MPI_Allgather(mine, MESSAGE_SIZE, kind, them, MESSAGE_SIZE, kind, comm):
            raise RuntimeError("MPI_Allgather failed")
        return [them[at : at + MESSAGE_SIZE].split(b"\0")[0].decode() for at in range(0, MESSAGE_SIZE * size, MESSAGE_SIZE)]

    # ---- The group ----

    def open(self) -> None:
        """Makes the process group, if that was agreed. Collective.

        Raises:
            RuntimeError: torch says why.
        """
        if not self.wanted:
            return
        import torch.distributed as dist

        self.close()
        rank, size = self.rank.rank, self.rank.world_size
        host = self.rank.library.host(self.rank.context).decode()
        one_node = self.smallest(int(self.tell({"host": host})["host"] == host)) == 1
        timeout = datetime.timedelta(seconds=self.rank.options.init_timeout)
        address = "127.0.0.1" if one_node else host
        store: Any = None
        message: Dict[str, Any] = {}
        if rank == 0:
            try:
                store = dist.TCPStore(address, 0, size, True, timeout, wait_for_workers=False)
                message = {"address": address, "port": store.port}
            except Exception as error:
                message = {"error": str(error)[: MESSAGE_SIZE // 4]}
        told = self.tell(message)
        if "error" in told:
            raise RuntimeError("rank 0 could not open torch's store: %s" % told["error"])
        if rank != 0:
            store = dist.TCPStore(told["address"], told["port"], size, False, timeout, wait_for_workers=False)
        os.environ.update(
            MASTER_ADDR=told["address"],
            MASTER_PORT=str(told["port"]),
            RANK=str(rank),
            WORLD_SIZE=str(size),
            LOCAL_RANK=str(self.rank.local_rank),
        )
        if one_node:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            self._share_cores(size)
        backend = self._backend()
        before = _sockets()
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        self.sockets = {fd: inode for fd, inode in _sockets().items() if before.get(fd) != inode}
        self.broken = False
        self.seen = self.rank.library.last_interrupted(self.rank.context)

    def _share_cores(self, ranks: int) -> None:
        """A replacement was started alone, and does not know by its environment how many share the node."""
        if "RANKCALL_OMP" in os.environ:
            import torch

            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))

    def _backend(self) -> str:
        """NCCL where every rank has a GPU of its own."""
        import torch
        import torch.distributed as dist

        places = self.all(self.rank.torch_place() if dist.is_nccl_available() else "")
        if not all_differ(places):
            return "gloo"
        torch.cuda.set_device(self.rank.torch_index())
        return "nccl"

    def close(self) -> None:
        """Ends the process group, if there is one."""
        if not self.wanted:
            return
        import torch.distributed as dist

        if dist.is_initialized():
            with contextlib.suppress(Exception):
                dist.destroy_process_group()

    def call_begins(self) -> None:
        """At the beginning of a call: makes the group anew if a rank had to break it. Collective, in a call."""
        if not self.wanted:
            return
        last = self.rank.library.last_interrupted(self.rank.context)
        if last <= self.seen or last >= self.rank.number:
            return
        self.seen = last
        worker = self.rank.worker
        assert worker is not None
        # A rank that failed may have left out collectives, which the others then wait for in the wrong places.
        place = -1 if self.broken else self._sequence()
        if Collectives.all_reduce(worker, place, "min") != Collectives.all_reduce(worker, place, "max"):
            self.open()
            worker._rankcall_finish(worker.regroup())

    @staticmethod
    def _sequence() -> int:
        """How many collectives this rank has begun in the group, counted from a number that all ranks share."""
        from torch.distributed import distributed_c10d

        try:
            group: Any = distributed_c10d._get_default_group()
            return int(group._get_sequence_number_for_group())
        except (AttributeError, RuntimeError):
            return 0  # this torch does not tell

    def break_off(self) -> None:
        """Makes the torch collective that this rank waits in fail. Any thread."""
        if not self.wanted:
            return
        self.broken = True
        now = _sockets()
        for fd, inode in self.sockets.items():
            if now.get(fd) == inode:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as one:
                    one.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):  # of NCCL, where torch can
            from torch.distributed import distributed_c10d

            if distributed_c10d.get_backend() == "nccl":
                distributed_c10d._abort_process_group()


def _sockets() -> Dict[int, int]:
    """This process's sockets: descriptor and inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            status = os.stat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[int(name)] = status.st_ino
    return found
