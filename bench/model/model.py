# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""What a job of any size should cost, from constants that were measured on small ones.

Times are in microseconds, sizes in bytes. `Constants` has what is measured (see measure.py); a `Shape` is the job that is
asked about. The reasons for every term are in doc/scaling.md.
"""

import dataclasses
import math


@dataclasses.dataclass
class Constants:
    """`call`, `event` and `resident`: coefficients of a polynomial, the constant term first, in ranks per CPU of a
    node (call, event) or ranks of rank 0's node (resident)."""

    call: list  # us of a small call on one node
    event: list  # us of an event of 64 B on one node
    resident: list  # bytes of rank 0
    own_call: float  # us of a call whose rank has a CPU to itself
    cold: float  # us of a call after idleness, on one node
    wake: float  # us until a sleeping process runs
    hop: float  # us of a message from node to node
    peer: float  # bytes that MPI takes at rank 0 for another rank that has sent to it over TCP
    connect: float  # us of a client's connection, from connect(2) to its greeting
    client: float  # bytes of rank 0 for a connected client
    table: float  # bytes that every rank has of every rank
    frontend: float  # bytes that rank 0 alone has of every rank
    place: float  # bytes of a node's shared memory for each of its ranks
    window_all: float  # bytes of events that may be under way to rank 0 ...
    window_least: float  # ... but at least this much of every rank

    @classmethod
    def of(cls, record):
        return cls(**{field.name: record[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass
class Shape:
    """`ranks` in all on nodes with at most `per_node` of them, which have `cpus` CPUs each."""

    ranks: int
    per_node: int
    cpus: int

    @property
    def nodes(self):
        return math.ceil(self.ranks / self.per_node)

    @property
    def on_first(self):
        return min(self.ranks, self.per_node)

    @property
    def load(self):
        """Ranks for each CPU of a node."""
        return self.on_first / self.cpus

    @property
    def depth(self):
        """How many nodes, one after the other, a word from rank 0 passes."""
        return math.ceil(math.log2(self.nodes)) if self.nodes > 1 else 0


def polynomial(coefficients, at):
    return sum(coefficient * at ** power for power, coefficient in enumerate(coefficients))


def in_node(constants, shape):
    """A call among the ranks of one node: with a CPU for each they do their part side by side."""
    return constants.own_call if shape.load < 1 else max(constants.own_call, polynomial(constants.call, shape.load))


def call_us(constants, shape):
    """A small call that follows another: down the tree of nodes, within every node at once, and up."""
    return in_node(constants, shape) + 2 * shape.depth * constants.hop


def cold_us(constants, shape):
    """A small call after idleness: the first rank of each node on the way must be woken, and all wake at once within a node."""
    return max(constants.cold, in_node(constants, shape)) + shape.depth * (2 * constants.hop + constants.wake)


def events_per_s(constants, shape):
    """Of 64 B, of all ranks together: rank 0's IO thread is what they share."""
    return 1e6 / polynomial(constants.event, max(1, shape.load))


def rank0_bytes(constants, shape, clients=1):
    """Rank 0's resident memory while every rank sends events."""
    remote = shape.ranks - shape.on_first
    return (polynomial(constants.resident, shape.on_first) + clients * constants.client +
            remote * (constants.table + constants.frontend + constants.peer))


def windows_bytes(constants, shape):
    """What events may fill at most while their client does not read."""
    return max(constants.window_all, shape.ranks * constants.window_least)


def node_bytes(constants, shape):
    """What the tables of all ranks take on a node, and the memory that its ranks share."""
    return shape.on_first * (shape.ranks * constants.table + constants.place)


def predict(constants, shape):
    return {"ranks": shape.ranks, "nodes": shape.nodes, "call_us": call_us(constants, shape),
            "cold_us": cold_us(constants, shape), "events_per_s": events_per_s(constants, shape),
            "rank0_bytes": rank0_bytes(constants, shape), "windows_bytes": windows_bytes(constants, shape),
            "node_bytes": node_bytes(constants, shape),
            "descriptors": max(0, shape.ranks - shape.on_first)}


def fit(points, degree):
    """Coefficients of the polynomial whose relative errors at `points`, pairs of place and value, have the least sum of
    squares."""
    size = degree + 1
    rows = [([place ** power / value for power in range(size)], 1.0) for place, value in points]
    left = [[sum(row[i] * row[j] for row, _ in rows) for j in range(size)] for i in range(size)]
    right = [sum(row[i] * one for row, one in rows) for i in range(size)]
    return solve(left, right)


def solve(left, right):
    """Gaussian elimination with pivots, for a few unknowns."""
    size = len(right)
    table = [row[:] + [value] for row, value in zip(left, right)]
    for at in range(size):
        best = max(range(at, size), key=lambda row: abs(table[row][at]))
        table[at], table[best] = table[best], table[at]
        for row in range(size):
            if row != at:
                factor = table[row][at] / table[at][at]
                table[row] = [value - factor * other for value, other in zip(table[row], table[at])]
    return [table[row][size] / table[row][row] for row in range(size)]
