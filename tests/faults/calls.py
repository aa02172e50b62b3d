# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Calls of the fault worker: what they ask for, the seal on what comes back, and clients that write a history."""

import contextlib
import os
import socket
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))

import strangers_client as wire  # noqa: E402
from resuming_client import ResumingClient  # noqa: E402
from strangers_client import Attachment, Payload  # noqa: E402


class Call:
    """One call to make. `asks` are the handler's arguments; `data` is sent along."""

    def __init__(self, token, handler, asks=None, stream=False, data=b"", timeout=0.0, streaming_timeout=0.0,
                 cancel_after=None, known=True, idempotent=False):
        self.token, self.handler, self.asks, self.stream, self.data = token, handler, asks or {}, stream, data
        self.timeout, self.streaming_timeout, self.cancel_after = timeout, streaming_timeout, cancel_after
        self.known, self.idempotent = known, idempotent  # whether the job has that handler, and may run it again
        self.id = 0

    def payload(self):
        crc = zlib.crc32(self.data, zlib.crc32(self.token.encode()))
        attachments = [Attachment("data", self.data)] if self.data else []
        return Payload({**self.asks, "token": self.token, "crc": crc}, attachments)

    def fields(self):
        """Those that wire.call_head() takes."""
        return {"handler": self.handler, "kind": wire.STREAM if self.stream else wire.INVOKE, "timeout": self.timeout,
                "streaming_timeout": self.streaming_timeout, "idempotent": self.idempotent}

    def frame(self):
        return wire.frame(wire.CALL, self.id, wire.call_head(**self.fields()), self.payload())

    def record(self, bound):
        return {"call": self.token, "handler": self.handler, "stream": self.stream, "asks": self.asks, "known": self.known,
                "idempotent": self.idempotent, "timeout": self.timeout, "streaming_timeout": self.streaming_timeout, "bound": bound}


def seal_of(payload):
    """(token, whether the checksum is right, the JSON) of an event or a result."""
    body = payload.json
    crc = zlib.crc32(("%s:%s:%s:%s:" % tuple(body.get(key) for key in ("token", "rank", "seq", "run"))).encode())
    crc = zlib.crc32(str(body.get("pad", "")).encode(), crc)
    for one in payload.attachments:
        crc = zlib.crc32(one.data, crc)
    return body.get("token"), crc == body.get("crc"), body


class Caller(threading.Thread):
    """A client: runs batches of calls, one batch after the other, each in one go; writes down all that happens.

    `manner`: "reads"; "slowly": pauses between two reads; "late": begins to read after a while.
    `ending`: "close"; or, in the last batch, "cut": closes with calls under way; "half": shuts down one direction;
    "torn": stops in the middle of a frame; "mute": goes without ever having read.
    `resume`: knows that feature, and comes back when rank 0 has died."""

    def __init__(self, name, path, history, batches, bound, manner="reads", ending="close", lag=0.0, agenda=None,
                 resume=False):
        super().__init__(name=name, daemon=True)
        self.path, self.history, self.batches, self.bound = path, history, batches, bound
        self.manner, self.ending, self.lag, self.agenda, self.resume = manner, ending, lag, agenda, resume
        self.open = {}  # calls under way, by id
        self.lock = threading.Lock()
        self.hung = threading.Event()
        self.deadline = 0.0
        self.connection = None
        self.gone = threading.Event()  # the job has closed the connection, or is not there

    # ---- The connection ----

    def connect(self):
        try:
            self.connection = self.connection_of_kind()
        except (OSError, wire.JobError) as error:  # a ConnectionError is an OSError
            self.history.write("connect", client=self.name, ok=False, error="%s" % error, resume=self.resume)
            self.gone.set()
            return False
        except AssertionError as error:
            self.history.write("protocol", client=self.name, message=str(error))
            self.gone.set()
            return False
        self.history.write("connect", client=self.name, ok=True, error="", resume=self.resume, manner=self.manner)
        return True

    def connection_of_kind(self):
        if not self.resume:
            return wire.Client(self.path, timeout=self.bound)
        connection = ResumingClient(self.path, timeout=self.bound, tell=self.tell)
        self.lock = connection.lock
        return connection

    def tell(self, what, again=(), **fields):
        """What a client that comes back goes through."""
        self.history.write(what, client=self.name, again=[self.open[id].token for id in again if id in self.open], **fields)

    def send(self, data):
        with self.lock:
            self.connection.send(data)

    def cancel(self, call):
        """From the agenda's thread, so it never waits: False when it has to be tried again."""
        if call.id not in self.open:
            return True
        if not self.lock.acquire(blocking=False):
            return False
        try:
            self.history.write("cancel", call=call.token)  # first: the answer may be here before the next line is
            if self.resume and call.id in self.connection.calls:
                self.connection.calls[call.id].cancelled = True
                if self.connection.returning:
                    return True
            self.connection.socket.send(wire.frame(wire.CANCEL, call.id), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.lock.release()
        return True

    # ---- The life of a client ----

    def run(self):
        time.sleep(self.lag)
        if not self.connect():
            return
        try:
            for number, batch in enumerate(self.batches):
                last = number == len(self.batches) - 1
                self.submit(batch)
                if last and self.ending != "close":
                    self.leave()
                    return
                if self.manner == "late":
                    time.sleep(0.15)
                self.receive_outcomes()
            self.close("client")
        except TimeoutError:  # the only one of these that is no ConnectionError; our own limit of a read
            self.hung.set()
        except OSError:
            self.end_of_job()
        except AssertionError as error:
            self.history.write("protocol", client=self.name, message=str(error))
            self.end_of_job()

    def submit(self, batch):
        self.deadline = time.monotonic() + self.bound
        for call in batch:
            if self.resume:
                call.id = self.connection.prepare(payload=call.payload(), **call.fields())
            else:
                call.id = self.connection.new_id()
            self.open[call.id] = call
            self.history.write("submit", client=self.name, **call.record(self.bound))
            if call.cancel_after is not None and self.agenda:
                self.agenda.after(call.cancel_after, self.cancel, call)
        for call in batch:
            try:
                with self.lock:
                    self.connection.begin(call.id) if self.resume else self.connection.send(call.frame())
            except BrokenPipeError:  # an ERROR may say why: read on
                return
            self.history.write("written", call=call.token)

    def receive_outcomes(self):
        frames = 0
        while self.open:
            frames += 1
            if self.manner == "slowly" and frames % 8 == 0:
                time.sleep(0.002)
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.connection.socket.settimeout(left)
            self.take(self.connection.receive())

    def take(self, got):
        call = self.open.get(got.id)
        if not call or got.type not in (wire.EVENT, wire.RESULT, wire.ERROR):
            message = wire.JobError(got).args[0] if got.type == wire.ERROR else ""
            self.history.write("stray", client=self.name, type=got.type, id=got.id, message=message)
            return
        if got.type == wire.EVENT:
            rank, sequence = got.rank_and_sequence
            token, good, body = seal_of(got.payload)
            good = good and (body["rank"], body["seq"]) == (rank, sequence)
            self.history.write("event", call=call.token, rank=rank, seq=sequence, good=good, token=token, run=body.get("run"))
            return
        if got.type == wire.RESULT:
            self.take_result(call, got.payload)
        else:
            error = wire.JobError(got)
            self.history.write("outcome", call=call.token, how="error", code=error.name, rank=error.rank,
                               host=error.body["host"], message=error.body["message"])
        del self.open[got.id]

    def take_result(self, call, payload):
        if payload.text == b"{}":  # a handler that has left at a checkpoint
            token, good, answer, run = call.token, True, {}, None
        else:
            token, good, answer = seal_of(payload)
            run = answer.get("run")
            answer = {key: answer.get(key) for key in ("handler", "events", "value")}
            answer["size"] = sum(len(one.data) for one in payload.attachments)
        self.history.write("outcome", call=call.token, how="result", good=good, token=token, answer=answer,
                           run=run)

    def leave(self):
        """The rude endings: nothing that comes afterwards is read."""
        time.sleep(0.02 if self.ending != "mute" else 0.2)
        self.history.write("cut", client=self.name, how=self.ending)
        with contextlib.suppress(OSError):
            if self.ending == "half":
                self.connection.socket.shutdown(socket.SHUT_WR)
                self.drain()
            elif self.ending == "torn":
                call = Call("torn", "echo", data=bytes(5000))
                call.id = self.connection.new_id()
                self.send(call.frame()[:2500])
        self.close("client")

    def drain(self):
        """After a half-close the job closes too; what it still sends is legal but no longer looked at."""
        end = time.monotonic() + self.bound
        while time.monotonic() < end:
            if not self.connection.socket.recv(1 << 16):
                return
        self.hung.set()

    def close(self, by):
        self.end_calls()
        self.connection.close()
        self.history.write("closed", client=self.name, by=by)

    def end_calls(self):
        for call in list(self.open.values()):
            self.history.write("outcome", call=call.token, how="closed")
        self.open.clear()

    def end_of_job(self):
        self.gone.set()
        self.close("job")

    def cut_now(self):
        """From another thread: what hangs ends; for the end of a round that has gone wrong."""
        self.connection.gone = "cut"
        with contextlib.suppress(OSError):
            self.connection.socket.shutdown(socket.SHUT_RDWR)


class Watcher(threading.Thread):
    """A client at rest: it notices the end of its connection, or comes back, and anything that comes unasked."""

    def __init__(self, path, history, resume=False):
        super().__init__(name="returning watcher" if resume else "watcher", daemon=True)
        self.history, self.leaving, self.away = history, False, threading.Event()
        self.connection = ResumingClient(path, tell=self.tell) if resume else wire.Client(path)
        self.connection.socket.settimeout(None)
        history.write("connect", client=self.name, ok=True, error="", resume=resume)

    def tell(self, what, **fields):
        (self.away.clear if what == "back" else self.away.set)()
        self.history.write(what, client=self.name, **fields)

    def run(self):
        try:
            while True:
                got = self.connection.receive()
                if not self.leaving:
                    self.history.write("stray", client=self.name, type=got.type, id=got.id, message=got.head.hex())
        except OSError:
            pass
        except AssertionError as error:
            if not self.leaving:
                self.history.write("protocol", client=self.name, message=str(error))
        self.history.write("closed", client=self.name, by="client" if self.leaving else "job")
        self.connection.close()

    def leave(self):
        self.leaving = True
        self.connection.gone = "leaving"
        with contextlib.suppress(OSError):
            self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.join(5)
