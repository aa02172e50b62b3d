# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Computing on this machine's GPU, or on the doubles to try these cases out. tests/gpu/run starts it."""

import array
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "integration"))
from devices import aware_mpi, double_gpus  # noqa: E402
from harness import Skip, case, check, equal, main, raises, wait_until  # noqa: E402
from strangers_client import STREAM, Attachment, JobError, Payload  # noqa: E402

DOUBLE = bool(os.environ.get("RANKCALL_GPU_DOUBLE"))
PREFIX = os.environ.get("RANKCALL_GPU_PREFIX", "")
STAGED, PASSED = "go through the host's memory", "go by MPI, which is CUDA-aware"
NDARRAY, FLOAT32, PNG = 3, 11, 1
CALLS = 200 if DOUBLE else 10000
KINDS = ("barrier", "broadcast", "gather", "all_gather", "scatter", "reduce", "all_reduce")


def gpu(t, **variables):
    """The environment of a job on one GPU."""
    return double_gpus(t, 1, **variables) if DOUBLE else {"CUDA_VISIBLE_DEVICES": "0", **variables}


def start(t, env=None, **options):
    return t.start(worker="device_worker", env=gpu(t, **(env or {})), **options)


def on_gpu(client, ranks):
    equal([int(kind) for kind in client.invoke("info").json["devices"][::2]], [1] * ranks, "kinds of devices")


def expect_results(client, seeds, turns=25, largest=9 << 20):
    for seed in seeds:
        equal(client.invoke("collectives", {"seed": seed, "turns": turns, "largest": largest}).json, {}, "seed %d" % seed)


def interrupt(client, ranks, times):
    source = random.Random(ranks)
    for turn in range(times):
        how = source.choice(("cancelled", "timeout"))
        args = {"kind": source.choice(KINDS), "size": source.choice((8, 5000, 6 << 20)),
                "absent": source.randrange(ranks), "absent_us": 5000}
        id = client.submit("interrupted", args, kind=STREAM, timeout=0.05 if how == "timeout" else 0)
        with raises(how):
            for _ in client.items(id):
                if how == "cancelled":
                    client.cancel(id)
        expect_results(client, [turn], 3, largest=100000)


def used_memory():
    """MiB of the first GPU."""
    told = subprocess.run(["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(told.split()[0])


@case("one rank on NCCL", ranks=(1,), own=True, timeout=300)
def alone(t):
    job = start(t)
    with job.connect() as client:
        on_gpu(client, 1)
        expect_results(client, range(1, 9))
        interrupt(client, 1, 10)
    check(STAGED not in job.output() and PASSED not in job.output(), job.output())


@case("ranks that share the GPU, by staging", ranks=(2, 4), own=True, timeout=300)
def staged(t):
    for env in ({}, {"RANKCALL_DEVICE_COLLECTIVES": "staging"}):
        job = start(t, env=env)
        with job.connect() as client:
            on_gpu(client, t.ranks)
            expect_results(client, range(1, 9))
            interrupt(client, t.ranks, 10)
        if not env:
            wait_until(lambda: job.output().count(STAGED) + job.output().count(PASSED) == 1, "one warning")
        job.stop()


@case("ranks that share the GPU, by an MPI that is CUDA-aware", ranks=(2, 4), own=True, timeout=300)
def passed(t):
    job = start(t, env={"RANKCALL_DEVICE_COLLECTIVES": "mpi", **(aware_mpi() if DOUBLE else {})})
    with job.connect() as client:
        try:
            expect_results(client, [1], 5)
        except JobError as error:
            if "not CUDA-aware" not in str(error):
                raise
            raise Skip("this MPI is not CUDA-aware") from error
        expect_results(client, range(1, 9))
        interrupt(client, t.ranks, 10)


@case("two ranks on NCCL that believe to be on two hosts", own=True, by=("mpirun",), timeout=300)
def two_hosts(t):
    script = 'export NCCL_HOSTID=host$OMPI_COMM_WORLD_RANK NCCL_SOCKET_IFNAME=lo; exec "$0" "$@"'
    job = start(t, env={"RANKCALL_DEVICE_COLLECTIVES": "nccl"}, wrapper=("sh", "-c", script))
    with job.connect() as client:
        on_gpu(client, 2)
        expect_results(client, range(1, 9))
        interrupt(client, 2, 10)


@case("a rank that dies in a device collective", ranks=(2,), own=True, timeout=300)
def dying(t):
    job = start(t)
    with job.connect() as client:
        with raises("rank_died", rank=1):
            client.invoke("interrupted", {"absent": 1, "absent_us": 5000, "dies": True})
        expect_results(client, [1])


@case("arrays to the device and back, events, errors", ranks=(1, 2), own=True, timeout=120)
def arrays(t):
    values = array.array("f", (i * 0.5 for i in range(100000)))
    with start(t).connect() as client:
        for _ in range(10):
            got = client.invoke("add", Payload({}, [Attachment("array", values.tobytes(), NDARRAY, FLOAT32, (100, 1000))]))
            equal(array.array("f", bytes(got.attachments[0].data)), array.array("f", (v * t.ranks for v in values)), "the sum")
        client.invoke("events")
        client.invoke("careless")
        for which, text in enumerate(("in that of the host", "out of memory", "NULL")):
            with raises("worker_error", text=text):
                client.invoke("refused", {"which": which})
            expect_results(client, [which], 3, largest=5000)


@case("the device's memory does not grow", ranks=(1, 2), own=True, timeout=550)
def growth(t):
    with start(t).connect() as client:
        expect_results(client, range(30), largest=5000)
        before = client.invoke("held").json if DOUBLE else used_memory()
        for seed in range(CALLS):
            client.invoke("collectives", {"seed": seed, "turns": 1, "largest": 5000})
        equal(client.invoke("held").json if DOUBLE else used_memory(), before, "what is held after %d calls" % CALLS)


@case("compute-sanitizer has nothing to say", ranks=(1,), by=("mpirun",), own=True, timeout=550)
def sanitized(t):
    if DOUBLE or not shutil.which("compute-sanitizer"):
        raise Skip("there is no compute-sanitizer")
    wrapper = ("compute-sanitizer", "--error-exitcode", "9", "--leak-check", "full")
    job = start(t, wrapper=wrapper)
    with job.connect() as client:
        expect_results(client, range(1, 4), 15, largest=100000)
        client.invoke("events")
    job.stop()
    check("ERROR SUMMARY: 0 errors" in job.output(), job.output()[-4000:])


# ---- The examples: as on the CPU ----


def example(t, name, payload, env, options=()):
    """The result of one call of an installed example, and what the job printed."""
    path = os.path.join(PREFIX, "libexec/rankcall", name)
    if not os.path.exists(path):
        raise Skip("the examples were not built")
    job = t.start(program_path=path, env=env, options=options)
    with job.connect() as client:
        got = list(client.stream(name if name != "digits" else "train", payload))[-1][2]
    job.stop()
    return got, job.output()


def on_both(t, name, payload):
    env = gpu(t, **({"RANKCALL_KERNELS_DIR": "/nowhere"} if DOUBLE else {}))
    there, said = example(t, name, payload, env)
    here, _ = example(t, name, payload, {}, ("--gpus", "none"))
    equal("computes on the CPU" in said, DOUBLE, "kernels\n" + said)
    return there, here


def picture(name):
    with open(os.path.join(PREFIX, "share/rankcall/data", name), "rb") as file:
        return [Attachment("image", file.read(), PNG)]


@case("photogrid has the same pictures", ranks=(1, 4), own=True, timeout=120)
def photogrid(t):
    there, here = on_both(t, "photogrid", Payload({"size": 400}, picture("coffee.png")))
    near_pictures(there.attachments[0].data, here.attachments[0].data)


def near_pictures(one, other):
    """Values differ by 1 at most in all but one of 1,000: the GPU's multiply-add rounds once less."""
    try:
        import io

        import numpy
        from PIL import Image
    except ImportError:
        equal(bytes(one) == bytes(other), True, "the pictures, byte for byte (without PIL)")
        return
    pixels = [numpy.asarray(Image.open(io.BytesIO(bytes(data)))).astype(int) for data in (one, other)]
    far = (abs(pixels[0] - pixels[1]) > 1).mean()
    check(far < 0.001, "%g of the values differ" % far)


@case("digits has the same loss curve", ranks=(1, 4), own=True, timeout=200)
def digits(t):
    there, here = on_both(t, "digits", Payload({"epochs": 10}))
    for one, other in zip(there.json["loss_curve"], here.json["loss_curve"]):
        check(abs(one - other) <= 1e-9 * abs(other), "losses %r and %r" % (one, other))
    equal(there.json["accuracy"], here.json["accuracy"], "accuracy")


@case("denoise has the same picture", ranks=(1, 4), own=True, timeout=200)
def denoise(t):
    there, here = on_both(t, "denoise", Payload({"steps": 40}, picture("coffee.png")))
    by_name = [{one.name: bytes(one.data) for one in result.attachments} for result in (there, here)]
    equal(by_name[0]["image"] == by_name[1]["image"], True, "the pictures")


main("gpu")
