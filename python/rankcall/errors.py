# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Errors of jobs and calls: TimeoutErrors where a deadline has passed, RuntimeErrors otherwise."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, Type

CODES: Dict[int, str] = {
    1: "internal",
    2: "invalid_argument",
    3: "bad_payload",
    4: "no_job",
    5: "worker_error",
    6: "busy",
    7: "timeout",
    8: "cancelled",
    9: "shutting_down",
    10: "no_handler",
    11: "too_large",
    12: "protocol_error",
    13: "forbidden",
    14: "connection_closed",
    15: "job_died",
    16: "rank_died",
    17: "wedged",
    18: "system_error",
    19: "no_such_key",
    20: "wrong_type",
    21: "out_of_range",
    22: "again",
    23: "job_exists",
    24: "launch_failed",
    25: "walltime",
}
NUMBERS: Dict[str, int] = {name: number for number, name in CODES.items()}


class RankcallError(Exception):
    """What went wrong with a job or a call: the base of all errors here.

    Attributes:
        code: the name of the kind, such as ``"worker_error"``.
        message: one line.
        rank: the rank that failed, or None.
        host: that rank's host, or "".
        traceback: the traceback on that rank, or "".
        call: the job's own number of the call where it is known, else the connection's id of it, or None.
    """

    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: Optional[str] = None,
        rank: Optional[int] = None,
        host: str = "",
        traceback: str = "",
        call: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.rank = rank
        self.host = host
        self.traceback = traceback
        self.call = call

    def __str__(self) -> str:
        text = self.message
        if self.rank is not None and not text.startswith("rank %d" % self.rank):
            text = "rank %d%s: %s" % (self.rank, " on " + self.host if self.host else "", text)
        return "%s\n\n%s" % (text, self.traceback.rstrip()) if self.traceback else text

    def __reduce__(self) -> Tuple[Any, ...]:
        return _restored, (type(self), self.message, dict(self.__dict__))


def _restored(kind: Type[RankcallError], message: str, members: Dict[str, Any]) -> RankcallError:
    error = kind(message)
    error.__dict__.update(members)
    return error


class JobError(RankcallError, RuntimeError):
    """Any other failure than a deadline's."""


class WorkerError(JobError):
    """A handler or setup raised an exception on a rank; ``traceback`` is that rank's."""

    code = "worker_error"


if sys.version_info >= (3, 11) or TYPE_CHECKING:  # one class since then

    class CallTimeoutError(RankcallError, TimeoutError):
        """A deadline has passed: of start, of a call, or of a stream's silence."""

        code = "timeout"

else:

    class CallTimeoutError(RankcallError, TimeoutError, asyncio.TimeoutError):
        """A deadline has passed: of start, of a call, or of a stream's silence."""

        code = "timeout"


class CallCancelledError(JobError):
    """The call was cancelled by somebody else than its caller, or because its client did not read."""

    code = "cancelled"


class RankDiedError(JobError):
    """A rank, or the whole job, died while the call ran."""

    code = "rank_died"


class BusyError(JobError):
    """The job's queue is full."""

    code = "busy"


class NotRunningError(JobError):
    """There is no job, or it stops."""

    code = "no_job"


class LaunchError(JobError):
    """The job could not be started."""

    code = "launch_failed"


_CLASSES: Dict[str, Type[RankcallError]] = {
    "worker_error": WorkerError,
    "timeout": CallTimeoutError,
    "cancelled": CallCancelledError,
    "rank_died": RankDiedError,
    "job_died": RankDiedError,
    "wedged": RankDiedError,
    "busy": BusyError,
    "no_job": NotRunningError,
    "shutting_down": NotRunningError,
    "connection_closed": NotRunningError,
    "launch_failed": LaunchError,
    "job_exists": LaunchError,
}


def make_error(code: str, message: str, **members: Any) -> RankcallError:
    """The exception of an error's name."""
    return _CLASSES.get(code, JobError)(message, code=code, **members)
