# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The runner: starts a job of ranks, or finds one that runs, calls it and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket as sockets
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple, Type, Union

from rankcall import _launch
from rankcall import _protocol as protocol
from rankcall._call import Call, Event
from rankcall._connection import NO_WAIT, WAIT, Connection, stop_head
from rankcall._keepalive import KeepAlive
from rankcall._loops import LoopThread
from rankcall._sse import text_event
from rankcall._values import arguments, unflatten
from rankcall.errors import RankcallError, make_error

Seconds = Union[int, float]
POLL = 0.005  # seconds between looks whether the job listens already
# what ranks on other hosts need of this program's environment, besides `env`
_FORWARDED = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "RANKCALL_WORKER_LIBRARY", "RANKCALL_TORCH")
MARGIN = 5.0  # seconds on top of a drain before processes are ended


class DistributedRunner(KeepAlive):
    """Runs a worker class on `world_size` ranks and calls it.

    Parameters:
        worker_cls: the worker's class, or ``"module:Class"``; or the path of a program, such as a worker in C, as
            ``["./denoise", "its", "arguments"]``.
        world_size: how many ranks.
        master_addr, master_port, worker_addr, worker_port: are kept, and not used: ranks and client find each other by
            themselves.
        timeout: seconds that an invoke may take when it says nothing else.
        keepalive_payload, keepalive_interval: when no call was made for `keepalive_interval` seconds, the ranks are
            called with `keepalive_payload`.
        cwd: the ranks' working directory; default: this process's.
        set_device: does nothing, and warns.
        job: the name or path of a job that runs already: it is called, and not started or stopped.
        name: of the job that is started, for ``rankcall ps``.
        hosts: where the ranks run, such as ``["node1", "node2"]``, each with an equal share of the ranks, or
            ``["node1:4", "node2:2"]``. Rank 0's has to be this one. The interpreter and the worker's module have to be there
            under the same paths.
        restarts: how often in an hour ranks that died are replaced (default: 10); 0: a rank's death ends the job.
        grace: seconds that ranks may stay in a call that has ended before they are killed (default: 30).
        payload_cap: bytes of the largest payload, result or event, such as ``"16G"``.
        launcher_args: further arguments for mpirun.
        run_args: further arguments for ``rankcall run``.
        env: further environment variables of the ranks.
        torch_distributed: False: torch's process group is not made.
        python: the ranks' interpreter; default: this one.
        verbose: shows the launcher's own lines, too.

    The object may be used from several threads and event loops. A runner that was stopped can be started again.
    """

    def __init__(
        self,
        worker_cls: "Union[Type[Any], str, Sequence[str], None]" = None,
        world_size: int = 1,
        master_addr: str = "127.0.0.1",
        master_port: int = 29500,
        worker_addr: str = "127.0.0.1",
        worker_port: Optional[int] = None,
        timeout: int = 86400,
        keepalive_payload: Dict[str, Any] = {},  # noqa: B006
        keepalive_interval: Optional[Seconds] = None,
        cwd: Union[str, Path, None] = None,
        set_device: Optional[bool] = None,
        *,
        job: Union[str, Path, None] = None,
        name: Optional[str] = None,
        hosts: Optional[Sequence[str]] = None,
        restarts: Optional[int] = None,
        grace: Optional[float] = None,
        payload_cap: Union[int, str] = "16G",
        launcher_args: Sequence[str] = (),
        run_args: Sequence[str] = (),
        env: Optional[Dict[str, str]] = None,
        torch_distributed: bool = True,
        python: Optional[str] = None,
        verbose: bool = False,
    ) -> None:
        if worker_cls is None and job is None:
            from rankcall._worker import DistributedWorker

            worker_cls = DistributedWorker
        if set_device is not None:
            warnings.warn("set_device does nothing: each rank has its own device", DeprecationWarning, stacklevel=2)
        self.worker_cls = worker_cls
        self.world_size = world_size
        self.master_addr = master_addr
        self.master_port = master_port
        self.worker_addr = worker_addr
        self.worker_port = worker_port
        self.timeout = timeout
        self.keepalive_payload = keepalive_payload
        self.keepalive_interval = keepalive_interval
        self.keepalive_timer: Optional[threading.Timer] = None
        self.cwd = cwd
        self.name = name
        self.hosts = hosts
        self.restarts = restarts
        self.grace = grace
        self.payload_cap = payload_cap
        self.launcher_args = list(launcher_args)
        self.run_args = list(run_args)
        self.env = dict(env or {})
        self.torch_distributed = torch_distributed
        self.python = python or sys.executable
        self.verbose = verbose
        self._attached = None if job is None else _launch.socket_path(os.fspath(job))
        self._path: Optional[str] = self._attached
        self._job: Optional[_launch.Job] = None
        self._ready = self._attached is not None
        self._connections: Dict[int, Connection] = {}
        self._lock = threading.RLock()
        self._errors: List[Exception] = []
        self._under_way = 0
        self._stopped = False
        self._keepalive_thread = LoopThread("rankcall-keepalive")

    # ---- Life ----

    async def start(self, timeout: Seconds = 1800, **kwargs: Any) -> None:
        """Starts the ranks and waits until all have run ``setup(**kwargs)``.

        Raises:
            RuntimeError: the ranks run already, or could not be started: ``WorkerError`` when setup failed on one.
            TimeoutError: they are not ready within `timeout` seconds.
        """
        if self._attached is not None:
            await self._attach(timeout)
            return
        with self._lock:
            if self.is_alive():
                raise make_error("job_exists", "Distributed processes are already running.")
            self._clean_up(0)
            self._launch(timeout, kwargs)
        try:
            await self._until_ready(timeout)
        except BaseException as error:
            if isinstance(error, RankcallError):
                self._errors.append(error)
            await self._in_thread(self.terminate, 5)
            raise
        self._ready, self._stopped = True, False
        self.maybe_start_keepalive()

    def _launch(self, timeout: Seconds, kwargs: Dict[str, Any]) -> None:
        from rankcall._plan import plan

        command = _launch.find_command()
        folder = _launch.private_folder()
        try:
            ready = plan(self, kwargs, folder)
            name = self.name or _launch.new_name(ready.title)
            line = _launch.launch_line(
                command=command,
                ranks=self.world_size,
                name=name,
                socket=None,
                program=ready.program,
                setup=ready.setup,
                timeout=timeout,
                hosts=self.hosts,
                restarts=self.restarts,
                grace=self.grace,
                payload_cap=str(self.payload_cap),
                launcher_args=self.launcher_args,
                run_args=self.run_args,
                variables=[name for name in ready.environment if name in _FORWARDED or name in self.env],
            )
        except BaseException:
            _launch.remove(folder)
            raise
        self._path = _launch.socket_path(name)
        self._job = _launch.Job(line, ready.environment, folder, self.verbose)

    async def _until_ready(self, timeout: Seconds) -> None:
        deadline = time.monotonic() + timeout
        try:
            await asyncio.wait_for(self._ready_connection(), timeout)
        except asyncio.TimeoutError as error:
            if time.monotonic() < deadline - 0.1:  # pragma: no cover - one of the job's own
                raise
            raise make_error(
                "timeout", "Timeout reached after %g seconds while waiting for workers to be ready." % timeout
            ) from error

    async def _ready_connection(self) -> None:
        job, path = self._job, self._path
        assert job is not None and path is not None
        connection = Connection(path, asyncio.get_running_loop(), self._tell)
        while True:
            if not job.alive():
                raise await self._in_thread(_launch.launch_failure, job)
            if os.path.exists(path):
                try:
                    await connection.open()
                    break
                except RankcallError as error:
                    if error.code != "no_job":
                        raise
            await asyncio.sleep(POLL)
        try:
            await self._status(connection, WAIT)
        except RankcallError as error:
            connection.close()
            if error.code in ("worker_error", "timeout", "rank_died"):
                raise
            await self._in_thread(job.wait, 2.0)
            raise (await self._in_thread(_launch.launch_failure, job)) from error
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    async def _attach(self, timeout: Seconds) -> None:
        connection = await self._connection()
        await asyncio.wait_for(self._status(connection, WAIT), timeout)
        self.world_size = connection.world_size
        self.maybe_start_keepalive()

    async def stop(self, timeout: Seconds = 10) -> None:
        """Stops the ranks: a call that runs may finish within `timeout` seconds, then teardown runs. A job that was there
        before the runner is left alone.

        Raises: RuntimeError: they are not running.
        """
        if not self.is_alive():
            raise make_error("no_job", "Distributed processes are not running.")
        self._end_keepalive()
        if self.attached:
            self._clean_up(timeout)
            return
        self._stopped = True
        with contextlib.suppress(RankcallError, OSError):
            connection = await self._connection()
            connection.stopping = True
            await asyncio.wait_for(connection.ask(protocol.STOP, stop_head(timeout)), timeout + MARGIN)
            await asyncio.wait_for(asyncio.shield(connection.ended), timeout + MARGIN)
        job = self._job
        if job is not None:
            await self._in_thread(job.wait, MARGIN)
        await self._in_thread(self._clean_up, timeout)

    def terminate(self, timeout: Seconds = 10) -> None:
        """Ends the ranks, those that do not within `timeout` seconds by force. A plain function."""
        self._end_keepalive()
        self._stopped = self._attached is None
        self._clean_up(timeout)

    def _clean_up(self, timeout: Seconds) -> None:
        with self._lock:
            job, self._job = self._job, None
            self._ready = self._attached is not None
            connections, self._connections = list(self._connections.values()), {}
        if job is not None:
            job.terminate(timeout)
        for connection in connections:
            _close(connection)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)

    async def __aenter__(self) -> DistributedRunner:
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._attached is not None:
            self.terminate()
        elif self.is_alive():
            await self.stop()

    # ---- How it is ----

    @property
    def attached(self) -> bool:
        """Whether the job was there before this runner, and stays after it."""
        return self._attached is not None

    def is_alive(self) -> bool:
        """Whether the job runs. A rank that is being replaced does not end it."""
        if self._attached is not None:
            return _answers(self._attached)
        job = self._job
        return job is not None and job.alive()

    def ensure_alive(self) -> None:
        """Raises RuntimeError when the ranks are not running, with what is known of why."""
        if not self.is_alive():
            errors = self.gather_errors()
            raise make_error("no_job", "Distributed processes are not running. Errors: %s" % errors)

    def gather_errors(self) -> List[Exception]:
        """The deaths and failed starts since the last time this was asked."""
        with self._lock:
            errors, self._errors = self._errors, []
        job = self._job
        if job is not None and not job.alive() and self._ready:
            words = job.last_words()
            code = "job_died"
            errors.append(make_error(code, "the job has ended with status %s\n%s" % (job.process.poll(), words)))
        return errors

    def _tell(self, error: RankcallError) -> None:
        with self._lock:
            self._errors.append(error)
            del self._errors[:-100]

    async def status(self) -> Dict[str, Any]:
        """What the job says of itself and its ranks, also while a call runs."""
        return await self._status(await self._connection(), NO_WAIT)

    async def _status(self, connection: Connection, head: bytes) -> Dict[str, Any]:
        answer = await connection.ask(protocol.STATUS, head)
        status: Dict[str, Any] = json.loads(answer.parts()[0])
        return status

    # ---- Connections ----

    async def _connection(self) -> Connection:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        connection = self._connections.get(id(loop))
        if connection is not None and connection.loop is loop and connection.gone is None:
            return connection
        path = self._path
        if path is None or not (self._attached or self.is_alive()):
            self.ensure_alive()
        assert path is not None
        connection = Connection(path, loop, self._tell)
        await connection.open()
        return self._keep(connection)

    def _keep(self, connection: Connection) -> Connection:
        """Makes it the loop's connection, unless there is one now; those of closed loops go."""
        with self._lock:
            for key, other in list(self._connections.items()):
                if other.loop.is_closed() or other.gone is not None:
                    del self._connections[key]
                    other.stream.close()
            kept = self._connections.setdefault(id(connection.loop), connection)
        if kept is not connection:
            connection.close()
        return kept

    # ---- Calls ----

    async def invoke(
        self,
        payload: Dict[str, Any] = {},  # noqa: B006
        timeout: Optional[Seconds] = None,
        *,
        handler: str = "",
        idempotent: bool = False,
    ) -> Any:
        """Calls all ranks with the payload's members as arguments; the result is that of rank 0.

        Parameters:
            payload: arguments of the worker's ``__call__``.
            timeout: seconds, the wait behind other calls included; None: the runner's.
            handler: a handler's name, for workers in C.
            idempotent: the call may run again when a rank dies.

        Raises:
            RuntimeError: the ranks are not running, or one failed.
            TimeoutError: the time is over; the ranks leave the call.
        """
        limit = self.timeout if timeout is None else timeout
        parts = arguments(payload)
        call = await self._submit(protocol.INVOKE, parts, limit, None, handler, idempotent, timeout is None)
        try:
            call.connection.spin(call)
            while not call.done:
                await call.more()
        finally:
            self._finished(call)
        return unflatten(*_result(call).parts())

    async def stream(
        self,
        payload: Dict[str, Any] = {},  # noqa: B006
        timeout: Optional[Seconds] = None,
        streaming_timeout: Optional[Seconds] = None,
        as_text_events: bool = False,
        *,
        handler: str = "",
        idempotent: bool = False,
    ) -> AsyncIterator[Any]:
        """Calls all ranks and yields what they send meanwhile, then the result.

        Parameters:
            payload: arguments of the worker's ``__call__``.
            timeout: seconds in all; None: no limit.
            streaming_timeout: seconds without any event; None: no limit.
            as_text_events: yields Server-Sent Events as bytes.

        Raises: as `invoke`.
        """
        async for event in self.events(payload, timeout, streaming_timeout, handler=handler, idempotent=idempotent):
            yield text_event(*event.parts()) if as_text_events else unflatten(*event.parts())

    async def events(
        self,
        payload: Dict[str, Any] = {},  # noqa: B006
        timeout: Optional[Seconds] = None,
        streaming_timeout: Optional[Seconds] = None,
        *,
        handler: str = "",
        idempotent: bool = False,
    ) -> AsyncIterator[Event]:
        """As `stream`, but with the rank and sequence number of each event; ``event.value()`` is what was sent."""
        parts = arguments(payload)
        call = await self._submit(protocol.STREAM, parts, timeout, streaming_timeout, handler, idempotent)
        try:
            while True:
                await call.more()
                while call.events:
                    event = call.events.popleft()
                    call.connection.taken(call, event)
                    yield event
                if call.done:
                    break
            yield _result(call)
        finally:
            self._finished(call)

    async def _submit(
        self,
        kind: int,
        parts: "Tuple[bytes, List[Any]]",
        timeout: Optional[Seconds],
        streaming_timeout: Optional[Seconds],
        handler: str,
        idempotent: bool,
        patient: bool = False,
    ) -> Call:
        connection = await self._connection()
        self.maybe_cancel_keepalive()
        call = Call(connection, kind, handler.encode(), parts[0], parts[1], timeout, streaming_timeout, idempotent)
        call.patient = patient
        connection.submit(call)
        self._under_way += 1
        return call

    def _finished(self, call: Call) -> None:
        self._under_way -= 1
        if not call.done:
            call.connection.give_up(call)
        if self.keepalive_interval is not None and self._under_way == 0:
            self.maybe_start_keepalive()


def _result(call: Call) -> Event:
    if call.error is not None:
        raise call.error
    assert call.result is not None
    return call.result


def _close(connection: Connection) -> None:
    """From any thread."""
    if connection.loop.is_closed():
        connection.stream.close()
        return
    with contextlib.suppress(RuntimeError):
        connection.loop.call_soon_threadsafe(connection.close, make_error("no_job", "the runner was stopped"))


def _answers(path: str) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
