# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Memory for what is large: not cleared where it was used before, and made of large pages where there are some."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections import deque
from typing import Any, Deque, Optional

from rankcall._attachment import Buffer

OWN_PAGES = 1 << 20  # bytes from which memory has pages of its own
LARGE_PAGE = 2 << 20
SPARES = 2


class Memory:
    """Gives memory, and keeps what nobody refers to any more for the next one. Any thread may let go of it."""

    def __init__(self) -> None:
        self.spares: Deque[mmap.mmap] = deque(maxlen=SPARES)

    def take(self, size: int) -> Buffer:
        """Writable memory of so many bytes, with anything in it."""
        if size < OWN_PAGES:
            return bytearray(size)
        pages = self._spare(size) or _new_pages(size)
        block: Any = (ctypes.c_char * size).from_buffer(pages)
        block.lease = _Lease(self, pages)  # ends with the last view of the block
        return memoryview(block).cast("B")

    def _spare(self, size: int) -> Optional[mmap.mmap]:
        for _ in range(len(self.spares)):
            try:
                pages = self.spares.pop()  # the last one is the one most likely in the caches
            except IndexError:
                break
            if size <= len(pages) <= 2 * size + LARGE_PAGE:
                return pages
            self.spares.appendleft(pages)
        return None

    def give(self, pages: mmap.mmap) -> None:
        _advise(pages, "MADV_FREE")  # the system may take the pages when it needs some
        self.spares.append(pages)


class _Lease:
    __slots__ = ("memory", "pages")

    def __init__(self, memory: Memory, pages: mmap.mmap) -> None:
        self.memory = memory
        self.pages = pages

    def __del__(self) -> None:
        self.memory.give(self.pages)


def _new_pages(size: int) -> mmap.mmap:
    pages = mmap.mmap(-1, -(-size // LARGE_PAGE) * LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _advise(pages, "MADV_HUGEPAGE")  # or taking them costs as much as filling them
    return pages


def _advise(pages: mmap.mmap, how: str) -> None:
    number = getattr(mmap, how, None)
    if number is not None:
        with contextlib.suppress(OSError):
            pages.madvise(number)
