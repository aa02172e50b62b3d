# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Files of the client's host that the ranks need: ranks on other hosts get them from rank 0."""

from __future__ import annotations

import ctypes
import linecache
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Dict, Optional

if TYPE_CHECKING:
    from rankcall._rank import Rank

NEEDED = ("file", "setup_file")  # options that are paths
PART = 1 << 28  # bytes of one broadcast


def fetch_files(rank: Rank) -> Optional[str]:
    """Makes options that name files which this host lacks name copies of rank 0's. A rank that has its worker needs none.
    Collective.

    Returns: the folder of the copies, for `drop_files`; None: there are none.

    Raises:
        OSError: a copy can't be written.
    """
    found: Dict[str, bytes] = {}
    for option in NEEDED:
        path = getattr(rank.options, option)
        if path is None:
            continue
        here = rank.worker is not None or os.path.isfile(path)
        if rank.group.smallest(int(here)):
            continue
        data = _spread(rank, _read(path) if rank.rank == 0 else b"")
        if not here and data:
            found[option] = data
    if not found:
        return None
    folder = tempfile.mkdtemp(prefix="rankcall-python-")
    for option, data in found.items():
        copy = os.path.join(folder, os.path.basename(getattr(rank.options, option)))
        with open(copy, "wb") as file:
            file.write(data)
        setattr(rank.options, option, copy)
    return folder


def drop_files(rank: Rank, folder: Optional[str]) -> None:
    """Removes the copies: a rank that is killed later leaves none. Tracebacks still show the script's lines."""
    if folder is None:
        return
    script = rank.options.file
    if script is not None and os.path.dirname(script) == folder:
        lines = linecache.getlines(script)
        linecache.cache[script] = (sum(map(len, lines)), None, lines, script)
    shutil.rmtree(folder, ignore_errors=True)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:  # said where it is needed
        return b""


def _spread(rank: Rank, data: bytes) -> bytes:
    """Rank 0's bytes."""
    library = rank.library
    size = int(rank.group.tell({"size": len(data)})["size"])
    memory = ctypes.create_string_buffer(data, size) if size else ctypes.create_string_buffer(1)
    kind, comm = library.mpi_object("ompi_mpi_byte"), library.comm(rank.context)
    for start in range(0, size, PART):
        if library.MPI_Bcast(ctypes.byref(memory, start), min(PART, size - start), kind, 0, comm):
            raise RuntimeError("MPI_Bcast failed")
    return memory.raw[:size]
