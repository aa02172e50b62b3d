# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows: samples of ours and of the floor, taken in turns, and what is made of them."""

import json


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
    """One line of the table. Without a floor the target is a value, with one it is a ratio; without a target the row only
    informs."""

    def __init__(self, key, text, unit, better="lower", target=None, floor=None):
        self.key, self.text, self.unit, self.better, self.target, self.floor_text = key, text, unit, better, target, floor
        self.ours, self.floor = Series(better), Series(better)

    def ratio(self):
        if not self.ours.values or not self.floor.values or not self.floor.at(0.5):
            return None
        return self.ours.at(0.5) / self.floor.at(0.5)

    def verdict(self):
        """"ok", "MISSED", or "" for a row without a target."""
        value = self.ratio() if self.floor_text else self.ours.at(0.5)
        if self.target is None or value is None:
            return ""
        return "ok" if (value <= self.target if self.better == "lower" else value >= self.target) else "MISSED"

    def record(self):
        return {"key": self.key, "row": self.text, "unit": self.unit, "better": self.better, "floor_is": self.floor_text,
                "ours": self.ours.summary(), "floor": self.floor.summary(), "ratio": self.ratio(), "target": self.target,
                "verdict": self.verdict()}


def in_turns(blocks, *steps):
    """Runs the steps one after the other, again and again, so that whatever disturbs the machine disturbs all of them."""
    for _ in range(blocks):
        for step in steps:
            step()


def save(path, settings, rows):
    with open(path, "w") as file:
        json.dump({"settings": settings, "rows": [row.record() for row in rows]}, file, indent=1)
        file.write("\n")
