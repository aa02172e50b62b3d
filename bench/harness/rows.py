# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""The groups of rows. A group is a function that measures and returns its rows, which share jobs."""

from .bulk import events, payloads
from .calls import cold, crowd, invoke, scale
from .collectives import collectives
from .life import deadlines, deaths, idle, memory, start
from .nodes import nodes
from .peers import peers
from .traffic import traffic

GROUPS = {"invoke": invoke, "cold": cold, "scale": scale, "crowd": crowd, "events": events, "payloads": payloads,
          "idle": idle, "memory": memory, "start": start, "collectives": collectives, "deaths": deaths,
          "deadlines": deadlines}
ON_REQUEST = {"nodes": nodes, "peers": peers, "traffic": traffic}  # measured only when they are named
