# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""rankcall: keeps an SPMD job resident and lets clients call it.

>>> from rankcall import DistributedRunner, DistributedWorker

Nothing else is imported before it is used: neither MPI nor NumPy nor torch is needed for this line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankcall._attachment import Attachment
    from rankcall._worker import DistributedWorker
    from rankcall.errors import (
        BusyError,
        CallCancelledError,
        CallTimeoutError,
        LaunchError,
        NotRunningError,
        RankcallError,
        RankDiedError,
        WorkerError,
    )
    from rankcall.runner import DistributedRunner
    from rankcall.sync import SyncRunner

__version__ = "0.1.0"

__all__ = [
    "Attachment",
    "BusyError",
    "CallCancelledError",
    "CallTimeoutError",
    "DistributedRunner",
    "DistributedWorker",
    "LaunchError",
    "NotRunningError",
    "RankDiedError",
    "RankcallError",
    "SyncRunner",
    "WorkerError",
]

_HOMES = {
    "Attachment": "_attachment",
    "DistributedRunner": "runner",
    "DistributedWorker": "_worker",
    "SyncRunner": "sync",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError("module 'rankcall' has no attribute %r" % name)
    value = getattr(importlib.import_module("rankcall." + _HOMES.get(name, "errors")), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted(set(globals()) | set(__all__))
