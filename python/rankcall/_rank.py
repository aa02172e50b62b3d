# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""One rank of a job: the worker between librankcall-worker's callbacks and a DistributedWorker."""

from __future__ import annotations

import contextvars
import ctypes
import inspect
import os
import sys
import threading
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from rankcall import _native, _torch
from rankcall._attachment import Attachment
from rankcall._files import drop_files, fetch_files
from rankcall._gpu import place, see_what_is_set, torch_index
from rankcall._loading import load_class
from rankcall._options import Options
from rankcall._values import flatten, unflatten
from rankcall._watch import Watch
from rankcall._worker import DistributedWorker

EVENT_QUALITY = 60  # of JPEG, as fal's users know it
RESULT_QUALITY = 95
POLL_S = 0.05  # how often to look whether C has read memory that was lent to it
OWN_FOLDER = os.path.dirname(os.path.abspath(__file__))

# The call that a coroutine and the tasks it starts belong to.
_call_number: "contextvars.ContextVar[int]" = contextvars.ContextVar("rankcall_call")


def describe(error: BaseException) -> Tuple[bytes, bytes]:
    """An exception's type and text in one line, and its traceback without this package's own frames at the top."""
    text = " ".join(str(error).split("\n")).strip()
    name = type(error).__qualname__
    trace = error.__traceback__
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(OWN_FOLDER):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    message = "%s: %s" % (name, text) if text else name
    return _c_text(message), _c_text("".join(lines))


def _c_text(text: str) -> bytes:
    return text.replace("\0", "\\0").encode("utf-8", "replace")


class Signature:
    """What a worker's ``__call__`` takes."""

    def __init__(self, worker: DistributedWorker) -> None:
        self.name = "%s.__call__()" % type(worker).__name__
        parameters = list(inspect.signature(worker.__call__).parameters.values())
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self.takes = {one.name for one in parameters if one.kind in named}
        self.takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)

    def arguments(self, payload: Dict[str, Any], streaming: bool) -> Dict[str, Any]:
        """The keyword arguments for a payload.

        Raises:
            TypeError: the payload has a key that ``__call__`` does not take.
        """
        if self.takes_any:
            payload["streaming"] = streaming
            return payload
        payload.pop("streaming", None)
        if "image_format" not in self.takes:
            payload.pop("image_format", None)  # means something by itself
        if not self.takes >= payload.keys():
            unknown = ", ".join('"%s"' % key for key in payload if key not in self.takes)
            known = ", ".join(sorted(self.takes - {"streaming"})) or "nothing"
            raise TypeError("%s does not take the payload's %s; it takes %s" % (self.name, unknown, known))
        if "streaming" in self.takes:
            payload["streaming"] = streaming
        return payload


class Rank:
    """This process in its job."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.library = _native.Library()
        self.context = 0  # struct rankcall_context *
        self.rank = 0
        self.world_size = 1
        self.call = 0  # struct rankcall_call *, while a handler runs
        self.number = 0
        self.streaming = False
        self.emit_lock = threading.Lock()  # the call lives as long as somebody has it
        self.lent = _native.Lent()
        self.looking = False
        self.worker: Optional[DistributedWorker] = None
        self.signature: Optional[Signature] = None
        self.group = _torch.Group(self)
        self.watch: Optional[Watch] = None

    # ---- The program ----

    def run(self) -> int:
        """Serves until the job ends. Returns the exit status."""
        handlers = (_native.CHandler * 2)()
        handlers[0] = _native.CHandler(b"call", _native.HANDLER(self._on_call), b"calls the Python worker")
        worker = _native.CWorker(
            self.options.job_name.encode(),
            handlers,
            _native.SETUP(self._on_setup),
            _native.TEARDOWN(self._on_teardown),
            _native.REGROUP(self._on_regroup),
        )
        arguments = [argument.encode() for argument in ["rankcall.worker", *self.options.native]]
        argv = (ctypes.c_char_p * (len(arguments) + 1))(*arguments)
        return int(self.library.worker_main(len(arguments), argv, ctypes.byref(worker)))

    # ---- What the job is ----

    @property
    def local_rank(self) -> int:
        """This rank's place on its node."""
        return int(self.library.local_rank(self.context))

    def torch_index(self) -> int:
        """torch's number of the GPU that the rank agreed on with the others of its node."""
        import torch

        address, uuid = self.library.gpu(self.context).decode(), self.library.gpu_uuid(self.context).decode()
        return torch_index(torch.cuda, address, uuid, self.local_rank)

    def torch_place(self) -> str:
        """What only ranks that share torch's GPU with this one have in common; "" if torch sees none."""
        import torch

        if not torch.cuda.is_available():
            return ""
        library = self.library
        host, address, uuid = (ask(self.context).decode() for ask in (library.host, library.gpu, library.gpu_uuid))
        return place(torch.cuda, self.torch_index(), host, address, uuid)

    def communicator(self) -> Any:
        """mpi4py's view of the worker's communicator."""
        from mpi4py import MPI

        comm = MPI.Intracomm()
        ctypes.c_void_p.from_address(MPI._addressof(comm)).value = self.library.comm(self.context)
        return comm

    # ---- Setup, regroup, teardown ----

    def _on_setup(self, context: int, args: int) -> int:
        self.context = context
        self.rank = self.library.rank(context)
        self.world_size = self.library.world_size(context)
        see_what_is_set()
        try:
            return self._set_up(args)
        except BaseException as error:  # SystemExit must not pass through C either
            return self._setup_failed(error)

    def _setup_failed(self, error: BaseException) -> int:
        message, trace = describe(error)
        sys.stdout.flush()
        sys.stderr.write(trace.decode())  # for those who look at the job's output; the client gets it, too
        return int(self.library.fail_setup_with(self.context, message, trace))

    def _set_up(self, args: int) -> int:
        kind: Optional[Type[DistributedWorker]] = None
        failure: Optional[BaseException] = None
        copies: Optional[str] = None
        kwargs: Dict[str, Any] = {}
        try:
            copies = fetch_files(self)
            kind = load_class(self.options)
            kwargs = self._setup_arguments(args)
        except BaseException as error:
            failure = error
        drop_files(self, copies)
        agreed = self.group.agree(failure is None, kind is not None and kind.torch_distributed)
        if failure is not None:
            raise failure
        if not agreed:
            return 0  # another rank fails, and with it the job
        assert kind is not None
        self.group.open()
        # What a job's worker is must be known to its __init__, too.
        DistributedWorker._rankcall_rank = self
        self.worker = kind(self.rank, self.world_size)
        if not hasattr(self.worker, "loop"):
            raise RuntimeError("%s.__init__() must call super().__init__(rank, world_size)" % kind.__name__)
        self.signature = Signature(self.worker)
        self.worker.initialize(**kwargs)
        return 0

    def _setup_arguments(self, args: int) -> Dict[str, Any]:
        kwargs = unflatten(*_native.read_payload(self.library, args, False))
        if self.options.setup_file:
            from rankcall._protocol import decode_payload

            with open(self.options.setup_file, "rb") as file:
                kwargs.update(unflatten(*decode_payload(bytearray(file.read()))))
        return dict(kwargs)

    def _on_regroup(self, context: int) -> int:
        try:
            fetch_files(self)
            if not self.group.agree(True, self.worker is not None and self.worker.torch_distributed):
                return 0
            self.group.open()
            if self.worker is not None:
                self.worker._rankcall_finish(self.worker.regroup())
            return 0
        except BaseException as error:
            return self._setup_failed(error)

    def _on_teardown(self, context: int) -> None:
        try:
            if self.worker is not None:
                self.worker.shutdown(timeout=5)
            self.group.close()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()

    # ---- Calls ----

    def _on_call(self, call: int) -> int:
        library = self.library
        self.number = library.call_number(call)
        self.streaming = library.streaming(call)
        self.call = call
        try:
            self._answer(call)
            return 0
        except BaseException as error:  # a handler's sys.exit() is a failure of the call
            return int(library.fail_with(call, *describe(error)))
        finally:
            with self.emit_lock:  # nobody emits any more
                self.call = 0

    def _answer(self, call: int) -> None:
        library, worker = self.library, self.worker
        assert worker is not None and self.signature is not None
        if self.watch is None:
            self.watch = Watch(self)
        self.watch.call_begins()
        self.group.call_begins()
        if self.lent.lots:
            self.lent.look()
        own = library.args_private(call)
        device = worker.device if worker.tensors_to_device else None
        payload = unflatten(*_native.read_payload(library, library.args(call), own), device=device)
        if not isinstance(payload, dict):
            raise TypeError("the payload must be a dict, it is a %s" % type(payload).__name__)
        image_format = payload.get("image_format", "jpeg")
        arguments = self.signature.arguments(payload, self.streaming)
        del payload
        result = worker._rankcall_finish(worker(**arguments), self._begin)
        del arguments
        if self.rank == 0:
            text, attachments = flatten(
                result,
                image_format=image_format if isinstance(image_format, str) else "jpeg",
                quality=RESULT_QUALITY,
                what="result",
            )
            del result
            self._give_result(call, text, attachments)

    def _give_result(self, call: int, text: bytes, attachments: List[Attachment]) -> None:
        payload, _kept = _native.make_payload(self.library, text, attachments, self.lent)
        self.library.check(self.library.result(call, payload))
        if self.lent.lots and not self.looking and self.worker is not None:
            self.looking = True
            self.worker.loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """On the event loop: lets go of memory that C has read."""
        self.looking = self.lent.look()
        if self.looking and self.worker is not None:
            self.worker.loop.call_later(POLL_S, self._look)

    def _begin(self) -> None:
        _call_number.set(self.number)

    def in_its_call(self) -> bool:
        """Whether a call runs, and not one after the call that has started this task."""
        return self.call != 0 and _call_number.get(self.number) == self.number

    def emit(self, value: Any, image_format: str) -> None:
        """Sends an event of the running call."""
        if not self.streaming or not self.in_its_call():
            return
        text, attachments = flatten(value, image_format=image_format, quality=EVENT_QUALITY, what="event")
        payload, _kept = _native.make_payload(self.library, text, attachments)
        with self.emit_lock:
            if self.call:
                self.library.check(self.library.emit(self.call, payload))
            else:
                self.library.payload_free(payload)

    def interrupted(self) -> int:
        """Why the running call is to be left, 0: it isn't, or there is none. Any thread."""
        if not self.call:
            return 0
        with self.emit_lock:
            return int(self.library.interrupted(self.call)) if self.call else 0

    def cancelled(self) -> bool:
        """The running call's checkpoint."""
        return self.in_its_call() and bool(self.library.cancelled(self.call))

    def in_call(self, function: Callable[..., int], *arguments: Any) -> None:
        """Runs one of C's collectives in the running call.

        Raises:
            RuntimeError: there is no call, or the collective failed.
        """
        if not self.in_its_call():
            raise RuntimeError("collectives can be used while a call runs; there is none")
        self.library.check(function(self.call, *arguments))
