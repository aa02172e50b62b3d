# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Where ranks run: planned for saved machines, and of running jobs as the kernel tells it."""

import json
import os
import subprocess

from devices import UUID, pretend_gpus
from harness import COMMAND, MPIRUN, Skip, case, check, equal, main, mpirun_line, program, raises, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
USAGE = 2


def saved(name):
    return os.path.join(HERE, os.pardir, "topologies", name + ".xml")


def topo(t, *arguments, status=0, **env):
    """What `rankcall topo` prints, or says when it fails."""
    done = t.run(COMMAND, "topo", *arguments, env={**t.sandbox.env, **env})
    out, err = done.stdout.decode(), done.stderr.decode()
    equal(done.returncode, status, "exit status of topo %s\n%s\n%s" % (" ".join(arguments), out, err))
    return err if status else out


def planned(t, *arguments, **env):
    return json.loads(topo(t, "--json", *arguments, **env))


def numbers(text):
    """A list like 0-3,8 as a set."""
    found = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def mask(pid, thread=None):
    return os.sched_getaffinity(thread or pid)


def io_thread(pid):
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, thread)) as file:
            if file.read().strip() == "rankcall-io":
                return int(thread)
    raise AssertionError("process %d has no IO thread" % pid)


def need_cores(wanted):
    """Cores, not hardware threads."""
    found = set()
    for cpu in os.sched_getaffinity(0):
        with open("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % cpu) as file:
            found.add(file.read())
    if len(found) < wanted:
        raise Skip("it takes %d cores" % wanted)


def devices(job):
    return [rank["device"] for rank in job.status["ranks"]]


def on(*gpus):
    return ["gpu 0000:%02x:00.0" % (16 + gpu) for gpu in gpus]


# ---- Plans ----


@case("topo plans for a saved machine", own=True)
def plan(t):
    told = planned(t, "--ranks", "8", "--input", saved("dual-socket-8gpu"))
    equal([(rank["rank"], rank["gpu"], rank["far"], rank["bound"]) for rank in told["ranks"]],
          [(i, i, False, "auto") for i in range(8)], "ranks")
    equal((told["ranks"][0]["cpus"], told["ranks"][0]["io_cpus"]), ("0-2,32-34", "3,35"), "rank 0")
    equal((told["ranks"][4]["cpus"], told["ranks"][4]["memory"]), ("16-19,48-51", "prefer:1"), "rank 4")
    equal((told["host"], told["warnings"], len(told["gpus"])), ("dual-socket-8gpu", [], 8), "the rest")
    text = topo(t, "--ranks", "8", "--input", saved("dual-socket-8gpu"))
    for line in ("  node 0   0 0 0 i 1 1 1 1 2 2 2 2 3 3 3 3", "GPU 7 0000:bd:00.0 A100-SXM4-80GB: rank 7"):
        check(line in text, "%r is not in\n%s" % (line, text))


@case("topo keeps within --allowed, and warns of what is not as it should be", own=True)
def warnings(t):
    for arguments, env, kinds in (
            (("-n", "2", "-i", saved("dual-socket-8gpu"), "--allowed", "16-31"), {}, ["wrong_cores", "wrong_cores"]),
            (("-n", "5", "-i", saved("dual-socket-8gpu"), "--allowed", "0-1,16-31"), {}, ["far_from_gpu"] * 2),
            (("-n", "3", "-i", saved("dual-socket-8gpu"), "--gpus", "1,2"), {}, ["shared_gpu"]),
            (("-n", "3", "-i", saved("dual-socket-8gpu")), {"CUDA_VISIBLE_DEVICES": "6"}, ["shared_gpu"]),
            (("-n", "25", "-i", saved("no-gpu")), {}, ["crowded"]),
            (("-n", "24", "-i", saved("no-gpu")), {}, [])):
        told = planned(t, *arguments, **env)
        equal([warning["kind"] for warning in told["warnings"]], kinds, " ".join(arguments))
        text = topo(t, *arguments, **env)
        equal([line[9:] for line in text.splitlines() if line.startswith("warning: ")],
              [warning["text"] for warning in told["warnings"]], "the same in text")
        for rank in told["ranks"]:
            check(numbers(rank["cpus"]) <= numbers(told["allowed"]), "rank %d is beyond what is allowed" % rank["rank"])


@case("topo of this machine stays within what its own process may use", own=True)
def here(t):
    cpu = min(os.sched_getaffinity(0))
    done = t.run("taskset", "-c", str(cpu), COMMAND, "topo", "--json", "-n", "2")
    told = json.loads(done.stdout)
    equal([rank["cpus"] for rank in told["ranks"]], [str(cpu)] * 2, "CPUs")
    equal(told["allowed"], str(cpu), "what is allowed")


@case("topo says what is wrong with a file or an option", own=True)
def mistakes(t):
    newer = os.path.join(t.sandbox.folder, "newer.xml")
    with open(newer, "w") as file:
        file.write('<?xml version="1.0"?>\n<topology version="99.0"></topology>\n')
    for arguments, status, said in (
            (("-i", newer), USAGE, "export-xml-flags v2"), (("-i", __file__), USAGE, "is not a topology"),
            (("-i", "/no/such/file.xml"), 18, "/no/such/file.xml"), (("--allowed", "zero"), USAGE, "--allowed"),
            (("-i", saved("no-gpu"), "--allowed", "100"), USAGE, "no CPU"), (("--gpus", "some"), USAGE, "--gpus"),
            (("-i", saved("one-gpu"), "--gpus", "1"), USAGE, "no GPU \"1\""), (("--bind", "core"), USAGE, "--bind"),
            (("-n", "2", "-j", "x"), USAGE, "running job"), (("nobody",), 4, "nobody")):
        check(said in topo(t, *arguments, status=status), "%s: %r is not said" % (arguments, said))


# ---- Jobs ----


@case("the status and topo tell what the kernel does, not what was planned", ranks=(1, 2, 3), by=("launcher", "mpirun"), own=True)
def asked(t):
    t.job = t.start(run_options=() if t.by == "launcher" else ("--bind-to", "none"))
    one = min(os.sched_getaffinity(0))
    moved = t.job.pids[-1]
    with t.connect() as client:
        for _ in range(2):
            told = json.loads(topo(t, "--json", t.job.name))
            rows = client.status()["ranks"]
            for rank, pid in enumerate(t.job.pids):
                equal(numbers(rows[rank]["cpus"]), mask(pid), "rank %d in the status" % rank)
                equal((numbers(told["ranks"][rank]["cpus"]), told["ranks"][rank]["pid"]), (mask(pid), pid), "rank %d in topo" % rank)
            equal(numbers(rows[0]["io_cpus"]), mask(t.job.pids[0], io_thread(t.job.pids[0])), "the IO thread in the status")
            os.sched_setaffinity(moved, {one})
        equal(mask(moved), {one}, "the rank that was moved")
        equal(client.invoke("empty").text, b"{}", "a call")
    text = topo(t, t.job.name)
    check(all(str(pid) in text for pid in t.job.pids), text)


@case("rank 0's IO thread has a core of its own where there is one", ranks=(1,), own=True)
def io_core(t):
    need_cores(2)
    t.job = t.start()
    pid = t.job.pids[0]
    check(not mask(pid) & mask(pid, io_thread(pid)), "both may run on %s" % (mask(pid) & mask(pid, io_thread(pid))))
    equal(mask(pid) | mask(pid, io_thread(pid)), os.sched_getaffinity(0), "both together")


@case("ranks have cores of their own where there are enough", ranks=(2, 3), own=True)
def own_cores(t):
    need_cores(t.ranks + 1)
    t.job = t.start()
    masks = [mask(pid) for pid in t.job.pids]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            check(not one & other, "two ranks share %s" % (one & other))


@case("--bind none leaves ranks where they are", ranks=(1, 2), own=True)
def unbound(t):
    t.job = t.start(options=("--bind", "none"))
    for pid in t.job.pids:
        equal(mask(pid), os.sched_getaffinity(0), "CPUs")
    equal({rank["bound"] for rank in t.job.status["ranks"]}, {"none"}, "bound")


@case("ranks stay within what taskset gave", ranks=(1, 2), own=True)
def taskset(t):
    one = max(os.sched_getaffinity(0))
    t.job = t.start(launcher_wrapper=("taskset", "-c", str(one)))
    for pid in t.job.pids:
        equal((mask(pid), mask(t.job.pids[0], io_thread(t.job.pids[0]))), ({one}, {one}), "CPUs")


@case("ranks that somebody has bound stay as they are", by=("launcher", "mpirun"), own=True)
def found(t):
    need_cores(2)
    bind = ("--bind-to", "core", "--map-by", "core")
    told = subprocess.run([MPIRUN, "-n", "2", *bind, "true"], env=t.sandbox.env, capture_output=True, check=False)
    if told.returncode:
        raise Skip("mpirun does not bind here: " + told.stderr.decode()[-300:])
    options = bind if t.by == "mpirun" else [word for one in bind for word in ("--launcher-arg", one)]
    t.job = t.start(run_options=options)
    masks = [mask(pid) for pid in t.job.pids]
    check(masks[0] != masks[1], "mpirun has bound nobody: %s" % masks)
    for rank, row in enumerate(t.job.status["ranks"]):
        equal((numbers(row["cpus"]), row["bound"]), (masks[rank], "found"), "rank %d" % rank)


@case("a rank that is replaced comes to the same place", ranks=(2, 3), by=("launcher", "mpirun"), own=True)
def replaced(t):
    recovery = {4: ("--enable-recovery",), 5: ("--enable-recovery", "--with-ft", "ulfm")}[mpirun_line()]
    job = t.start(env=pretend_gpus(t, t.ranks), run_options=recovery if t.by == "mpirun" else ())
    job.any_status = t.by == "mpirun"
    with job.connect() as client:
        with raises("rank_died", t.ranks - 1):
            client.invoke("die", {"rank": t.ranks - 1, "signal": 9})
        after = client.status(wait=True)["ranks"]
        equal(client.invoke("empty").text, b"{}", "the next call")
    for old, new in zip(job.status["ranks"], after):
        for key in ("cpus", "bound", "memory", "device", "uuid"):
            equal(new[key], old[key], "%s of rank %d" % (key, new["rank"]))
    check(after[-1]["pid"] != job.pids[-1], "the rank was not replaced")


# ---- GPUs, pretended ----


@case("each rank has a GPU of its own, in their order", ranks=(1, 2, 4), by=("launcher", "mpirun"), own=True)
def own_gpus(t):
    t.job = t.start(env=pretend_gpus(t, t.ranks))
    equal(devices(t.job), on(*range(t.ranks)), "devices")
    equal([rank["uuid"] for rank in t.job.status["ranks"]], [UUID % i for i in range(t.ranks)], "UUIDs")
    check("share" not in t.job.output(), t.job.output())
    with t.connect() as client:
        told = client.invoke("info").json
    equal((told["gpu"], told["gpu_uuid"]), (on(0)[0][4:], UUID % 0), "what rank 0's handler is told")


@case("more ranks than GPUs share them in turn, with one warning", ranks=(4,), by=("launcher", "mpirun"), own=True)
def shared_gpus(t):
    t.job = t.start(env=pretend_gpus(t, 2))
    equal(devices(t.job), on(0, 1, 0, 1), "devices")
    wait_until(lambda: "share" in t.job.output(), "the warning")
    equal(t.job.output().count("ranks of this node share"), 1, "warnings")
    told = json.loads(topo(t, "--json", t.job.name, **{"RANKCALL_TEST_GPUS": os.path.join(t.sandbox.folder, "driver0")}))
    equal([gpu["ranks"] for gpu in told["gpus"]], [[0, 2], [1, 3]], "topo")
    equal([warning["kind"] for warning in told["warnings"]], ["shared_gpu"] * 2, "topo's warnings")


@case("topo of a job asks the driver which GPUs its processes compute on, and tells when they are others", ranks=(3,), own=True)
def asked_driver(t):
    job = t.start(env=pretend_gpus(t, 3))
    env = {"RANKCALL_TEST_GPUS": os.path.join(t.sandbox.folder, "driver0"), "RANKCALL_TEST_NVML": program("libnvml_double.so"),
           "RANKCALL_DOUBLE_BUS": "16",
           "RANKCALL_DOUBLE_PROCESSES": "%d:0,%d:2,%d:0,1:1" % (job.pids[0], job.pids[1], job.pids[1])}
    told = json.loads(topo(t, "--json", job.name, **env))
    equal([(rank["gpu"], rank["gpu_told_by"]) for rank in told["ranks"]], [(0, "driver"), (0, "driver"), (2, "rank")], "GPUs")
    equal([(one["kind"], one["rank"]) for one in told["warnings"]], [("shared_gpu", 0), ("other_gpu", 1)], "warnings")
    text = topo(t, job.name, **env)
    for line in ("as the driver tells where", "no work of rank 2", "rank 1 computes on GPU 0000:10:00.0"):
        check(line in text, "%r is not in\n%s" % (line, text))
    del env["RANKCALL_TEST_NVML"]
    told = json.loads(topo(t, "--json", job.name, **env))
    equal([(rank["gpu"], rank["gpu_told_by"]) for rank in told["ranks"]], [(i, "rank") for i in range(3)], "without NVML")


@case("--gpus, CUDA_VISIBLE_DEVICES and missing device files choose among GPUs", own=True)
def chosen_gpus(t):
    driver = pretend_gpus(t, 4)
    for options, env, wanted in ((("--gpus", "2,1"), {}, on(2, 1)), ((), {"CUDA_VISIBLE_DEVICES": "3,2"}, on(3, 2)),
                                 (("--gpus", "1,0"), {"CUDA_VISIBLE_DEVICES": "3,2"}, on(2, 3)),
                                 (("--gpus", "none"), {}, ["cpu", "cpu"]), (("--gpus", UUID % 3 + ",0"), {}, on(3, 0))):
        job = t.start(options=options, env={**driver, **env})
        equal(devices(job), wanted, "%s %s" % (options, env))
        job.stop()
    os.remove(os.path.join(driver["RANKCALL_TEST_GPUS"], "nvidia0"))
    equal(devices(t.start(env=driver)), on(1, 2), "without the first device file")


@case("a choice of GPUs that cannot be met ends the start with the reason", by=("launcher", "mpirun"), own=True)
def refused_gpus(t):
    driver = pretend_gpus(t, 1)
    wrong = [(("--gpus", "1"), "there is no GPU \"1\"")]
    if t.by == "launcher":  # which sees it before anything is started
        wrong += [(("--gpus", "fast"), "neither a number"), (("--bind", "x"), "--bind")]
    for options, said in wrong:
        job = t.start(options=options, env=driver, ready=False)
        check(job.wait() != 0 and said in job.output(), "%r: %s" % (said, job.output()))


main("placement")
