# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Memory that large payloads are read into."""

import ctypes
import gc

import pytest

from rankcall._memory import OWN_PAGES, SPARES, Memory

SIZE = OWN_PAGES * 3


def address(view):
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_what_nobody_refers_to_is_given_again():
    memory = Memory()
    first = memory.take(SIZE)
    where = address(first)
    part = first[5:10]
    del first
    assert address(memory.take(SIZE)) != where  # a part of it is in use
    part[:] = b"abcde"
    del part
    gc.collect()
    again = memory.take(SIZE - 7)
    assert address(again) == where and again.nbytes == SIZE - 7


def test_only_memory_of_about_the_size_is_given_again():
    memory = Memory()
    first = memory.take(SIZE * 20 - 1)
    where = address(first)
    del first
    assert address(memory.take(SIZE)) != where
    assert address(memory.take(SIZE * 20)) == where  # its last page had room


def test_little_is_kept():
    memory = Memory()
    blocks = [memory.take(SIZE) for _ in range(SPARES + 3)]
    assert len({address(block) for block in blocks}) == SPARES + 3
    blocks.clear()
    assert len(memory.spares) == SPARES


@pytest.mark.parametrize("size", [0, 1, OWN_PAGES - 1, OWN_PAGES, OWN_PAGES + 1])
def test_memory_of_any_size_can_be_written_to(size):
    block = memoryview(Memory().take(size))
    assert block.nbytes == size and not block.readonly
    block[:] = b"x" * size
    assert bytes(block) == b"x" * size


async def test_results_that_are_held_are_left_alone(shared):
    numpy = pytest.importorskip("numpy")
    held = []
    for number in range(8):
        array = numpy.full(SIZE, number, "u1")
        result = await shared.invoke({"do": "value", "value": array})
        if number % 2:
            held.append(result)
    assert [set(one.tolist()) for one in held] == [{1}, {3}, {5}, {7}]
