# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Computing on devices: the host, and GPUs that doubles of CUDA and NCCL pretend."""

import array
import os
import random
import time

from devices import UUID, aware_mpi, double_gpus, pretend_gpus
from harness import COMMAND, FULL, SLOW, Skip, case, check, equal, main, raises, wait_until
from strangers_client import STREAM, Attachment, JobError, Payload

KINDS = ("barrier", "broadcast", "gather", "all_gather", "scatter", "reduce", "all_reduce")
CODES = {"timeout": 7, "cancelled": 8, "worker_error": 5}
TIMES = 60 if FULL else 12
HOST, CUDA = 0, 1
NDARRAY, FLOAT32 = 3, 11  # of the protocol
OUT_OF_MEMORY, ECC, ILLEGAL_ADDRESS = 2, 214, 700
SYSTEM_ERROR, REMOTE_ERROR = 2, 6
STAGED = "go through the host's memory"
PASSED = "go by MPI, which is CUDA-aware"


def start(t, gpus=None, env=None, **options):
    """A job with as many pretended GPUs; NCCL goes where each rank has its own."""
    driver = double_gpus(t, t.ranks if gpus is None else gpus)
    return t.start(worker="device_worker", env={**driver, **(env or {})}, **options)


def devices(client, ranks):
    told = client.invoke("info").json["devices"]
    equal(len(told), 2 * ranks, "devices")
    return [int(kind) for kind in told[::2]], [int(index) for index in told[1::2]]


def processes(client):
    return [rank["pid"] for rank in client.status(wait=True)["ranks"]]


def expect_replaced(job, before, dead):
    """The job goes on, and where it could be regrouped only the dead have new processes."""
    def goes_on():
        try:
            with job.connect() as client:
                expect_results(client, [2], 5, largest=5000)
                return processes(client)
        except (ConnectionError, JobError) as error:
            check("cannot regroup" in job.output(), "%s\n%s" % (error, job.output()))
            return None

    after = goes_on()
    if after is None:
        wait_until(lambda: goes_on() is not None, "the restarted job", 60 * SLOW)
    elif "cannot regroup" not in job.output():
        equal([a == b for a, b in zip(before, after)], [rank not in dead for rank in range(len(before))], "who lives on")


def expect_results(client, seeds, turns, largest=9 << 20):
    for seed in seeds:
        equal(client.invoke("collectives", {"seed": seed, "turns": turns, "largest": largest}).json, {}, "seed %d" % seed)


def invoke(client, handler, args, timeout):
    return client.outcome(client.submit(handler, args, timeout=timeout))


def made(client):
    return client.invoke("held").json["made"]


# ---- Results ----


@case("device collectives by NCCL give what they should", ranks=(1, 2, 3), own=True, timeout=90)
def by_nccl(t):
    job = start(t)
    with job.connect() as client:
        equal(devices(client, t.ranks), ([CUDA] * t.ranks, list(range(t.ranks))), "devices")
        expect_results(client, range(1, 30 if FULL else 5), 25)
        equal(made(client), 1, "communicators")
    check(STAGED not in job.output(), job.output())


@case("device collectives of ranks that share a GPU are staged, with one warning", ranks=(2, 4), own=True, timeout=90)
def by_staging(t):
    job = start(t, gpus=1)
    with job.connect() as client:
        equal(devices(client, t.ranks), ([CUDA] * t.ranks, [0] * t.ranks), "devices")
        expect_results(client, range(1, 30 if FULL else 5), 25)
        equal(made(client), 0, "communicators")
    wait_until(lambda: STAGED in job.output(), "the warning")
    equal(job.output().count(STAGED), 1, "warnings")
    check("share GPU " + UUID % 0 in job.output(), job.output())


@case("device collectives of ranks that share a GPU go by an MPI that is CUDA-aware, with one warning", ranks=(2, 4), own=True,
      timeout=90)
def by_aware_mpi(t):
    job = start(t, gpus=1, env=aware_mpi())
    with job.connect() as client:
        expect_results(client, range(1, 30 if FULL else 5), 25)
        equal(made(client), 0, "communicators")
        held = client.invoke("held").json["held"]
        expect_results(client, range(1, 5), 25)
        equal(client.invoke("held").json["held"], held, "what the double holds")
    wait_until(lambda: PASSED in job.output(), "the warning")
    equal((job.output().count(PASSED), job.output().count(STAGED)), (1, 0), "warnings")
    job.stop()
    wait_until(lambda: job.output().count("messages from devices") == t.ranks, "all ranks to have sent from the device")


@case("an MPI that is CUDA-aware is used over two nodes, too, and where it is wanted", ranks=(2, 4), by=("mpirun",), own=True,
      timeout=90)
def aware_over_nodes(t):
    for env in ({"RANKCALL_TEST_NODES": "2"}, {}):
        job = start(t, gpus=1, env={**aware_mpi(), "RANKCALL_DEVICE_COLLECTIVES": "mpi", **env})
        with job.connect() as client:
            expect_results(client, range(1, 4), 25, largest=1 << 20)
        interrupt_many(t, job, "cancelled", TIMES // 3)
        job.stop()
        wait_until(lambda: job.output().count("messages from devices") == t.ranks, "all ranks to have sent from the device")


@case("staging can be wanted of an MPI that is CUDA-aware, and MPI of none that is", own=True)
def against_awareness(t):
    job = start(t, gpus=1, env={**aware_mpi(), "RANKCALL_DEVICE_COLLECTIVES": "staging"})
    with job.connect() as client:
        expect_results(client, [1], 10, largest=5000)
    job.stop()
    check("messages from devices" not in job.output(), job.output())
    with start(t, env={"RANKCALL_DEVICE_COLLECTIVES": "mpi"}).connect() as client:
        with raises("worker_error", text="not CUDA-aware"):
            client.invoke("collectives", {"turns": 10})
        client.invoke("empty")


@case("device collectives by an older NCCL go without its gather and scatter", ranks=(2, 3), own=True, timeout=60)
def by_old_nccl(t):
    with start(t, env={"RANKCALL_DOUBLE_NCCL_VERSION": "22703"}).connect() as client:
        expect_results(client, range(1, 4), 25, largest=100000)
        equal(made(client), 1, "communicators")


@case("four ranks have a communicator of four", ranks=(4,), own=True, timeout=60)
def four(t):
    with start(t, gpus=4, env={"RANKCALL_DOUBLE_DEVICES": "4"}).connect() as client:
        expect_results(client, range(1, 4), 25, largest=1 << 20)
        equal(made(client), 1, "communicators")


@case("device collectives over two nodes, and their ends", ranks=(2, 4), by=("mpirun",), own=True, timeout=120)
def over_nodes(t):
    script = 'export NCCL_HOSTID=$OMPI_COMM_WORLD_RANK; exec "$0" "$@"'
    for way in ("auto", "staging"):
        job = start(t, env={"RANKCALL_TEST_NODES": "2", "RANKCALL_DOUBLE_DEVICES": "4", "RANKCALL_DEVICE_COLLECTIVES": way},
                    wrapper=("sh", "-c", script))
        with job.connect() as client:
            expect_results(client, range(1, 3), 15, largest=1 << 20)
            equal(made(client), int(way == "auto"), "communicators")
        interrupt_many(t, job, "cancelled", TIMES // 3)
        interrupt_many(t, job, "timeout", TIMES // 3)
        job.stop()


@case("handlers of devices run on the host where there is no GPU", ranks=(1, 2), own=True, timeout=60)
def on_host(t):
    with t.start(worker="device_worker").connect() as client:
        equal(devices(client, t.ranks), ([HOST] * t.ranks, [-1] * t.ranks), "devices")
        expect_results(client, range(1, 4), 25)
        client.invoke("events")
        add(client, t.ranks)


@case("a GPU without CUDA's module is not used, and why is said", own=True)
def without_module(t):
    job = t.start(worker="device_worker", env={**pretend_gpus(t, 2), "RANKCALL_TEST_CUDA_MODULE": "/nowhere/module.so"})
    with job.connect() as client:
        equal(devices(client, 2)[0], [HOST] * 2, "devices")
    wait_until(lambda: "/nowhere/module.so" in job.output(), "the reason")


@case("two ranks with distinct NCCL_HOSTID may have NCCL on one GPU", own=True, timeout=60)
def distinct_hosts(t):
    script = 'export NCCL_HOSTID=$OMPI_COMM_WORLD_RANK; exec "$0" "$@"'
    t.by = "mpirun"
    job = start(t, gpus=1, env={"RANKCALL_DEVICE_COLLECTIVES": "nccl"}, wrapper=("sh", "-c", script))
    with job.connect() as client:
        expect_results(client, range(1, 3), 20, largest=100000)
        equal(made(client), 1, "communicators")


# ---- Payloads, events ----


def add(client, ranks):
    values = array.array("f", (i * 0.5 for i in range(100000)))
    sent = Payload({}, [Attachment("array", values.tobytes(), NDARRAY, FLOAT32, (100, 1000))])
    for _ in range(4):
        got = client.invoke("add", sent).attachments[0]
        equal((got.name, got.dtype, tuple(got.shape)), ("array", FLOAT32, (100, 1000)), "the array")
        equal(array.array("f", bytes(got.data)), array.array("f", (value * ranks for value in values)), "the sum")


@case("arrays go from a payload to the device and back", ranks=(1, 2), own=True)
def arrays(t):
    with start(t).connect() as client:
        add(client, t.ranks)
        first = client.invoke("held").json["held"]
        add(client, t.ranks)
        equal(client.invoke("held").json["held"], first, "what the double holds")
        client.invoke("events")
        client.invoke("careless")
        client.invoke("events")


@case("1,000 calls leave no memory, events or communicators behind", own=True, timeout=120)
def no_growth(t):
    with start(t).connect() as client:
        expect_results(client, range(20), 20, largest=5000)
        before = client.invoke("held").json
        for seed in range(1000):
            client.invoke("collectives", {"seed": seed, "turns": 2, "largest": 5000})
        equal(client.invoke("held").json, before, "what is held")


# ---- Ends before the end ----


def interruption(source, ranks):
    args = {"kind": source.choice(KINDS), "size": source.choice((8, 5000, 100000, 6 << 20))}
    if source.random() < 0.7:
        args.update(absent=source.randrange(ranks), absent_us=source.choice((1000, 20000)))
    return args


def interrupt_many(t, job, how, times=TIMES):
    source = random.Random(how + str(t.ranks))
    with job.connect() as client:
        for turn in range(times):
            args = interruption(source, t.ranks)
            id = client.submit("interrupted", args, kind=STREAM, timeout=0.03 if how == "timeout" else 0)
            with raises(how):
                for _ in client.items(id):
                    time.sleep(source.random() * 0.01)
                    if how == "cancelled":
                        client.cancel(id)
            codes = client.invoke("last_codes").json["codes"]
            check(all(code == CODES[how] for code in codes), "%s: %s" % (args, codes))
            expect_results(client, [turn], 3, largest=100000)


@case("cancelled calls and those whose time is over leave device collectives", ranks=(2, 3), own=True, timeout=120)
def ended(t):
    for gpus, env in ((t.ranks, {}), (1, {}), (1, aware_mpi())):
        job = start(t, gpus=gpus, env=env)
        interrupt_many(t, job, "cancelled")
        interrupt_many(t, job, "timeout")
        job.stop()


@case("NCCL that does not come to an end is aborted, and the next call has a fresh communicator", ranks=(2, 3), own=True,
      timeout=60)
def hanging(t):
    with start(t).connect() as client:
        expect_results(client, [1], 3, largest=5000)
        for turn in range(3):
            client.invoke("disturb", {"rank": turn % t.ranks, "hang": True})
            with raises("timeout"):
                invoke(client, "interrupted", {"kind": "all_reduce"}, 0.2)
            client.invoke("disturb", {"hang": False})
            expect_results(client, [turn], 5, largest=5000)
        equal(made(client), 4, "communicators")
        equal(client.invoke("held").json["open"], 1, "communicators left")


@case("a rank that fails releases those that wait for it in a device collective", ranks=(2, 3), own=True, timeout=60)
def failing(t):
    for gpus, env in ((t.ranks, {}), (1, {}), (1, aware_mpi())):
        job = start(t, gpus=gpus, env=env)
        with job.connect() as client:
            for turn in range(TIMES):
                rank = turn % t.ranks
                args = {"kind": KINDS[turn % len(KINDS)], "size": 5000, "absent": rank, "absent_us": 2000, "fails": True}
                with raises("worker_error", rank=rank, text="told to fail"):
                    client.invoke("interrupted", args)
                expect_results(client, [turn], 2, largest=5000)
        job.stop()


@case("a rank that dies in a device collective is replaced, and the others make a fresh communicator with it",
      ranks=(2, 3), own=True, timeout=120)
def dying(t):
    for gpus, env in ((t.ranks, {}), (1, {}), (1, aware_mpi())):
        job = start(t, gpus=gpus, env=env)
        dead = t.ranks - 1
        for kind in ("all_reduce", "gather"):
            with job.connect() as client:
                before = processes(client)
                with raises("rank_died", rank=dead):
                    client.invoke("interrupted", {"kind": kind, "absent": dead, "absent_us": 2000, "dies": True})
            expect_replaced(job, before, {dead})
        job.stop()


# ---- Errors ----


@case("errors name the rank, the host, the GPU, the call and what CUDA or NCCL says", own=True, timeout=60)
def errors(t):
    job = start(t)
    host = job.status["ranks"][1]["host"]
    with job.connect() as client:
        for disturbed, handler, args, texts in (
                ({"nccl": "ncclCommInitRankConfig", "error": SYSTEM_ERROR}, "interrupted", {},
                 ("rankcall_all_reduce", "ncclCommInitRankConfig", "unhandled system error")),
                ({"cuda": "cudaMalloc", "error": OUT_OF_MEMORY}, "events", {},
                 ("rankcall_device_alloc", "cudaMalloc of 16 bytes", "out of memory", "cudaErrorMemoryAllocation")),
                ({"cuda": "cudaMemcpyAsync", "error": 1}, "events", {}, ("rankcall_device_copy", "cudaMemcpyAsync")),
                ({"nccl": "ncclAllReduce", "error": SYSTEM_ERROR}, "interrupted", {},
                 ("rankcall_all_reduce", "ncclAllReduce", "unhandled system error")),
                ({"nccl": "async", "error": REMOTE_ERROR, "after": 3}, "interrupted",
                 {"absent": 0, "absent_us": 20000}, ("rankcall", "remote process", "came meanwhile"))):
            client.invoke("disturb", {"rank": 1, **disturbed})
            try:
                client.invoke(handler, args)
                raise AssertionError("no error of %s" % disturbed)
            except JobError as error:
                equal((error.name, error.rank), ("worker_error", 1), str(error))
                for text in (*texts, "rank 1 (%s)" % host, UUID % 1):
                    check(text in error.body["message"], "%r is not in %r" % (text, error.body["message"]))
            expect_results(client, [2], 5, largest=5000)


@case("wrong pointers and sizes are refused", own=True)
def refused(t):
    texts = ("send is in the memory of GPU " + UUID[:20], "out of memory", "NULL", "", "a kernel of ours")
    with start(t).connect() as client:
        for which, text in enumerate(texts):
            with raises("worker_error", text=text):
                invoke(client, "refused", {"which": which}, 10)
            expect_results(client, [which], 2, largest=5000)


@case("NCCL of different versions is told", own=True)
def versions(t):
    job = start(t, env={"RANKCALL_DOUBLE_NCCL_VERSION": "1:22703"})
    with job.connect() as client:
        with raises("worker_error", text="NCCL's versions differ: rank 0"):
            client.invoke("collectives", {"turns": 10})
        with raises("worker_error", text="has 2.27.3"):
            client.invoke("collectives", {"turns": 10})
        client.invoke("empty")


@case("without NCCL device collectives are staged", own=True)
def no_nccl(t):
    job = start(t, env={"RANKCALL_TEST_NCCL": "/nowhere/libnccl.so"})
    with job.connect() as client:
        expect_results(client, range(1, 3), 20, largest=100000)
    wait_until(lambda: STAGED in job.output() and "/nowhere/libnccl.so" in job.output(), "the warning")


@case("ranks on one GPU that are told to use NCCL hear why it refuses", own=True)
def duplicate(t):
    with start(t, gpus=1, env={"RANKCALL_DEVICE_COLLECTIVES": "nccl"}).connect() as client:
        with raises("worker_error", text="Duplicate GPU"):
            client.invoke("collectives", {"turns": 10})
        client.invoke("empty")


@case("a rank whose GPU does not recover tells why, ends and is replaced", ranks=(2, 3), own=True, timeout=90)
def lost(t):
    job = start(t)
    for rank, call, error in ((1, "cudaStreamQuery", ILLEGAL_ADDRESS), (t.ranks - 1, "cudaMemcpyAsync", ECC)):
        with job.connect() as client:
            expect_results(client, [1], 3, largest=5000)
            before = processes(client)
            client.invoke("disturb", {"rank": rank, "cuda": call, "error": error, "after": 2})
            with raises("worker_error", rank=rank, text="does not recover"):
                client.invoke("collectives", {"seed": 5, "turns": 20})
        expect_replaced(job, before, {rank})


@case("rank 0 whose GPU does not recover tells why, too", ranks=(2,), own=True, timeout=90)
def lost_at_0(t):
    job = start(t)
    with job.connect() as client:
        expect_results(client, [1], 3, largest=5000)
        before = processes(client)
        client.invoke("disturb", {"rank": 0, "cuda": "cudaStreamQuery", "error": ECC, "after": 2})
        with raises("worker_error", rank=0, text="does not recover"):
            client.invoke("collectives", {"seed": 5, "turns": 20})

    def is_new():
        try:
            with job.connect() as client:
                expect_results(client, [2], 5, largest=5000)
                return processes(client)[0] != before[0]
        except (ConnectionError, JobError):
            return False

    wait_until(is_new, "another rank 0", 60 * SLOW)


@case("a GPU that stands still costs its rank, after the grace", own=True, timeout=60)
def standing_still(t):
    job = start(t, options=("--grace", "1"))
    with job.connect() as client:
        expect_results(client, [1], 3, largest=5000)
        client.invoke("disturb", {"rank": 1, "stand": True})
        began = time.monotonic()
        before = processes(client)
        with raises("timeout"):
            invoke(client, "interrupted", {"kind": "all_reduce"}, 0.2)
    expect_replaced(job, before, {1})
    check(time.monotonic() - began < 60 * SLOW, "it took %.1f s" % (time.monotonic() - began))


# ---- The installed tree ----


@case("nothing but the modules names CUDA or NCCL", own=True)
def links(t):
    root = os.path.dirname(os.path.dirname(COMMAND))
    looked = 0
    for folder in ("bin", "lib", "libexec/rankcall"):
        for name in os.listdir(os.path.join(root, folder)):
            path = os.path.join(root, folder, name)
            with open(path, "rb") if os.path.isfile(path) else open(os.devnull, "rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            told = t.run("readelf", "-d", path).stdout.decode()
            check("NEEDED" in told, told)
            check("cuda" not in told and "nccl" not in told and "cublas" not in told, "%s: %s" % (path, told))
            looked += 1
    check(looked >= 4, "%d files" % looked)


@case("an example's pictures are gathered from the devices", ranks=(2,), own=True, timeout=60)
def example(t):
    root = os.path.dirname(os.path.dirname(COMMAND))
    program_path = os.path.join(root, "libexec/rankcall/photogrid")
    if not os.path.exists(program_path):
        raise Skip("the examples were not built")
    with open(os.path.join(root, "share/rankcall/data/coffee.png"), "rb") as file:
        photo = Payload({"size": 200}, [Attachment("image", file.read(), 1)])
    sheets = []
    for env in ({}, double_gpus(t, t.ranks, RANKCALL_KERNELS_DIR="/nowhere")):
        job = t.start(program_path=program_path, env=env)
        with job.connect() as client:
            sheets.append(client.invoke("photogrid", photo).attachments[0].data)
        job.stop()
    equal(bytes(sheets[0]) == bytes(sheets[1]), True, "the sheets")
    check("computes on the CPU" in job.output(), job.output())


main("devices")
