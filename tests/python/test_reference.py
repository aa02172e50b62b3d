# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What programs written for fal.distributed use, in the shapes in which they use it."""

import asyncio
import inspect
import os
import time

import pytest

import rankcall
from rankcall import DistributedRunner, DistributedWorker

DEFAULTS = {
    "worker_cls": DistributedWorker,
    "world_size": 1,
    "master_addr": "127.0.0.1",
    "master_port": 29500,
    "worker_addr": "127.0.0.1",
    "worker_port": None,
    "timeout": 86400,
    "keepalive_payload": {},
    "keepalive_interval": None,
    "cwd": None,
}


class Plain(DistributedWorker):
    """Without torch's collectives."""

    def setup(self, scale=1, note=None, **kwargs):
        self.scale, self.note, self.calls = scale, note, 0

    def __call__(self, value=0, fail=None, wait=0.0, items=(), streaming=False, **kwargs):
        self.calls += 1
        if fail == self.rank:
            raise ValueError("cannot do %r" % value)
        end = time.monotonic() + wait
        while time.monotonic() < end and not self.cancelled:
            time.sleep(0.002)
        for item in items:
            if streaming and self.rank == 0:
                self.add_streaming_result(item, as_text_event=True)
        if self.rank != 0:
            return {"never": "seen"}
        return {"value": value * self.scale, "calls": self.calls, "streaming": streaming, "more": sorted(kwargs)}

    def teardown(self):
        if self.note:
            with open(os.path.join(self.note, "down.%d" % self.rank), "x"):
                pass


class Nothing(DistributedWorker):
    def __call__(self, **kwargs):
        return None


class Inherits(Plain):
    """A worker of a worker; both parts may be coroutines."""

    async def setup(self, **kwargs):
        super().setup(**kwargs)
        self.scale += 1

    async def __call__(self, **payload):
        await asyncio.sleep(0)
        return {**super().__call__(**payload), "who": type(self).__name__}


class Guided(DistributedWorker):
    """Steps in lockstep by torch's barrier, with previews now and then; then all ranks' pieces on rank 0."""

    def setup(self, width, **kwargs):
        import torch

        self.rank_print("on %s" % self.device)
        self.net = torch.nn.Linear(width, width, bias=False).to(self.device)
        torch.nn.init.constant_(self.net.weight, self.rank + 1.0)

    def __call__(self, text, steps=6, streaming=False):
        import torch
        import torch.distributed as dist
        from PIL import Image

        with torch.no_grad():
            piece = self.net(torch.ones(self.net.in_features, device=self.device))
        for step in range(steps):
            if streaming and self.rank == 0 and step % 2 == 0:
                preview = Image.new("RGB", (4, 4), (step, 0, 0))
                self.add_streaming_result({"step": step, "share": step / steps, "preview": preview}, as_text_event=True)
            dist.barrier()
        pieces = None
        if self.rank == 0:
            pieces = [torch.zeros_like(piece) for _ in range(self.world_size)]
        dist.gather(piece, pieces, dst=0)
        if self.rank == 0:
            return {"text": text, "pieces": pieces}
        return {}


def test_the_constructor_takes_the_same_in_the_same_order():
    parameters = list(inspect.signature(DistributedRunner).parameters)
    assert parameters[: len(DEFAULTS)] == list(DEFAULTS)
    runner = DistributedRunner()
    for name, value in DEFAULTS.items():
        assert getattr(runner, name) == value
    by_place = DistributedRunner(Plain, 3, "127.0.0.1", 29501, "127.0.0.1", 5555, 60, {"value": 1}, 2.5, "/")
    found = [getattr(by_place, name) for name in DEFAULTS]
    assert found == [Plain, 3, "127.0.0.1", 29501, "127.0.0.1", 5555, 60, {"value": 1}, 2.5, "/"]
    assert by_place.keepalive_timer is None
    with pytest.warns(DeprecationWarning):
        DistributedRunner(Plain, 1, set_device=True)


@pytest.mark.parametrize(
    "owner, name, kind, parameters",
    [
        (DistributedRunner, "start", "coroutine", ["timeout", "kwargs"]),
        (DistributedRunner, "invoke", "coroutine", ["payload", "timeout"]),
        (DistributedRunner, "stream", "generator", ["payload", "timeout", "streaming_timeout", "as_text_events"]),
        (DistributedRunner, "stop", "coroutine", ["timeout"]),
        (DistributedRunner, "terminate", "function", ["timeout"]),
        (DistributedRunner, "keepalive", "function", ["timeout"]),
        (DistributedRunner, "is_alive", "function", []),
        (DistributedRunner, "ensure_alive", "function", []),
        (DistributedRunner, "gather_errors", "function", []),
        (DistributedWorker, "initialize", "function", ["kwargs"]),
        (DistributedWorker, "setup", "function", ["kwargs"]),
        (DistributedWorker, "teardown", "function", []),
        (DistributedWorker, "shutdown", "function", ["timeout"]),
        (DistributedWorker, "submit", "function", ["coro"]),
        (DistributedWorker, "run_in_worker", "function", ["func", "args", "kwargs"]),
        (DistributedWorker, "add_streaming_result", "function", ["result", "image_format", "as_text_event"]),
        (DistributedWorker, "add_streaming_error", "function", ["error"]),
        (DistributedWorker, "rank_print", "function", ["message", "debug"]),
        (DistributedWorker, "__call__", "function", ["streaming", "kwargs"]),
    ],
)
def test_methods_take_the_same_in_the_same_order(owner, name, kind, parameters):
    method = getattr(owner, name)
    found = [one for one in inspect.signature(method).parameters.values() if one.name != "self"]
    positional = [one.name for one in found if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional == parameters
    assert inspect.isasyncgenfunction(method) == (kind == "generator")
    assert inspect.iscoroutinefunction(method) == (kind == "coroutine")


async def test_a_life_as_an_application_leads_it(tmp_path):
    runner = DistributedRunner(worker_cls=Plain, world_size=2)
    assert not runner.is_alive()
    with pytest.raises(RuntimeError):
        runner.ensure_alive()
    await runner.start(timeout=300, scale=3, note=str(tmp_path))
    assert runner.is_alive() and runner.ensure_alive() is None and runner.gather_errors() == []
    with pytest.raises(RuntimeError, match="already running"):
        await runner.start()
    payload = {"value": 2, "prompt": "x"}
    assert await runner.invoke(payload, 60) == {"value": 6, "calls": 1, "streaming": False, "more": ["prompt"]}
    assert payload == {"value": 2, "prompt": "x"}
    got = [item async for item in runner.stream({"value": 1, "items": [{"step": 1}, "two"]}, 60, 60)]
    assert got == [{"step": 1}, "two", {"value": 3, "calls": 2, "streaming": True, "more": []}]
    text = [item async for item in runner.stream({"items": [{"step": 1}]}, None, None, True)]
    assert text[0] == b'data: {"step": 1}\n\n' and all(type(item) is bytes for item in text)
    await runner.stop(timeout=10)
    assert not runner.is_alive() and sorted(os.listdir(tmp_path)) == ["down.0", "down.1"]
    assert runner.keepalive() is None
    for method in (runner.stop, runner.invoke):
        with pytest.raises(RuntimeError, match="not running"):
            await method()
    runner.terminate()
    runner.terminate()


async def test_what_the_original_makes_of_errors_is_an_exception_here():
    async with DistributedRunner(Plain, 2) as runner:
        for rank in range(2):
            with pytest.raises(RuntimeError, match="cannot do 7") as caught:
                await runner.invoke({"fail": rank, "value": 7})
            assert caught.value.rank == rank
            with pytest.raises(RuntimeError, match="cannot do 7"):
                assert [item async for item in runner.stream({"fail": rank, "value": 7})] == []
        with pytest.raises(TimeoutError):
            await runner.invoke({"wait": 60}, timeout=1)
        with pytest.raises(TimeoutError):
            async for _ in runner.stream({"wait": 60}, streaming_timeout=1):
                pass
        assert (await runner.invoke({"value": 1}))["value"] == 1
        with pytest.raises(ZeroDivisionError):
            async with DistributedRunner(Nothing) as other:
                assert await other.invoke() is None
                assert [item async for item in other.stream()] == [None]
                raise ZeroDivisionError
        assert not other.is_alive()


async def test_calls_at_once_take_turns():
    async with DistributedRunner(Inherits, 2) as runner:
        results = await asyncio.gather(*(runner.invoke({"value": number}) for number in range(32)))
    assert [result["value"] for result in results] == [2 * number for number in range(32)]
    assert sorted(result["calls"] for result in results) == list(range(1, 33))
    assert {result["who"] for result in results} == {"Inherits"}


async def test_torch_workers_run_as_they_stand(capfd):
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL.Image")
    runner = DistributedRunner(Guided, 2, env={"RANKCALL_TORCH": "auto"})
    await runner.start(width=3)
    result = await runner.invoke({"text": "a"})
    assert result["text"] == "a"
    assert [piece.tolist() for piece in result["pieces"]] == [[3.0] * 3, [6.0] * 3]
    got = [item async for item in runner.stream({"text": "b"})]
    assert [item["step"] for item in got[:-1]] == [0, 2, 4]
    assert got[0]["preview"].size == (4, 4) and got[0]["preview"].format == "JPEG"
    assert torch.equal(got[-1]["pieces"][1], torch.full((3,), 6.0))
    text = [item async for item in runner.stream({"text": "b", "steps": 1}, as_text_events=True)]
    assert text[0].startswith(b'data: {"step": 0, "share": 0.0, "preview": {"content_type": "image/jpeg", "width": 4')
    assert b'"content_type": "application/tensor"' in text[1] and text[1].endswith(b"\n\n")
    await runner.stop()
    out = capfd.readouterr().out
    assert "[rank 0] on " in out and "[rank 1] on " in out


def test_the_names_are_in_the_package():
    assert rankcall.DistributedRunner is DistributedRunner and rankcall.DistributedWorker is DistributedWorker
    assert {"DistributedRunner", "DistributedWorker"} <= set(dir(rankcall))
