# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows: samples of ours and of the floor, taken in turns, and what is made of them."""

import json
import time

SETTLE_S = 0.0005  # what a rank of ours may still spin after a call, and a stopped one take to stop
PATIENCE_S = 0.2  # how long to wait for a quiet moment before a block

class Series:
    """Samples of one thing."""

    def __init__(self, better):
        self.better = better
        self.values = []

    def add(self, values):
        self.values.extend(values)

    def at(self, share):
        """The value that this share of the samples is not worse than."""
        ordered = sorted(self.values, reverse=self.better == "higher")
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def summary(self):
        if not self.values:
            return None
        return {"median": self.at(0.5), "p99": self.at(0.99), "best": self.at(0), "samples": len(self.values)}


class Row:
    """One line of the table. Without a floor the target is a value, with one it is a ratio; without a target the row
    only informs."""

    def __init__(self, key, text, unit, better="lower", target=None, floor=None):
        self.key, self.text, self.unit, self.better = key, text, unit, better
        self.target, self.floor_text = target, floor
        self.ours, self.floor = Series(better), Series(better)
        self.blocks = self.disturbed = 0  # what the samples come from, and how many of these others disturbed

    def ratio(self):
        if not self.floor_text or not self.ours.values or not self.floor.values:
            return None
        return self.ours.at(0.5) / self.floor.at(0.5)

    def verdict(self):
        """"ok", "MISSED", or "" for a row without a target."""
        value = self.ratio() if self.floor_text else self.ours.at(0.5)
        if self.target is None or value is None:
            return ""
        return "ok" if (value <= self.target if self.better == "lower" else value >= self.target) else "MISSED"

    def record(self):
        return {"key": self.key, "row": self.text, "unit": self.unit, "better": self.better,
                "ours": self.ours.summary(), "floor": self.floor.summary(), "floor_is": self.floor_text,
                "ratio": self.ratio(), "target": self.target, "verdict": self.verdict(),
                "blocks": self.blocks, "disturbed": self.disturbed}


def others_run():
    """Whether another process than this one wants a CPU now."""
    with open("/proc/loadavg") as file:
        return int(file.read().split()[3].partition("/")[0]) > 1


def quiet_before():
    """Waits a while for a moment in which nothing else runs. Returns whether there was one."""
    end = time.monotonic() + PATIENCE_S
    while others_run():
        if time.monotonic() > end:
            return False
        time.sleep(0.003)
    return True


def turn(steps):
    """Runs every step once. Returns what they gave, and whether nothing else wanted the CPUs before and after each."""
    given, quiet = [], True
    for step in steps:
        quiet &= quiet_before()
        given.append(step())
        time.sleep(SETTLE_S)
        quiet &= not others_run()
    return given, quiet


def in_turns(row, ours, floor, blocks, effort, limit_s=4):
    """Adds to a row: a block of ours, a block of the floor, and so on, so that what changes on the machine changes for
    both. Turns in which other processes ran are repeated; what is short of `blocks` at the time limit is made up from
    those, and at least a quarter is done in any case. `floor` may be None. `effort` multiplies blocks and time."""
    blocks *= effort
    steps = [ours, floor] if floor else [ours]
    kept, spare, end = [], [], time.monotonic() + limit_s * effort
    while len(kept) < blocks and (time.monotonic() < end or len(kept) + len(spare) < blocks / 4):
        given, quiet = turn(steps)
        (kept if quiet else spare).append(given)
    used = kept + spare[:blocks - len(kept)]
    for given in used:
        row.ours.add(given[0])
        row.floor.add(given[1] if floor else [])
    row.blocks += len(used)
    row.disturbed += len(used) - len(kept)
    return row


def save(path, settings, rows):
    with open(path, "w") as file:
        json.dump({"settings": settings, "rows": [row.record() for row in rows]}, file, indent=1)
        file.write("\n")
