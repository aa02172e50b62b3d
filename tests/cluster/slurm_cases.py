# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What must hold in a Slurm cluster of two nodes or more. Runs on its login node: see check-slurm."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from slurm_batch import (CASES, LONG_S, MINE, PREFIX, RANKCALL, ROOT, WORK, Batch, Skip, await_, case, check, nodes, on_node,
                         processes, ranks_on, sh)

# ---- Starting ----


def started(method, line, *options):
    job = Batch(line, "-N2", "--ntasks-per-node=2", *options)
    status = json.loads(job.rankcall("status", "-j", "it", "--json").stdout)
    check(ranks_on(status) == ["node1", "node1", "node2", "node2"] or len(set(ranks_on(status))) == 2, str(ranks_on(status)))
    check(json.loads(job.rankcall("invoke", "-j", "it", '{"who": "%s"}' % method).stdout) == {"hello": method, "ranks": 4},
          "the result")
    sh(RANKCALL, "stop", "-j", "it", "--via", f"srun:{job.id}")
    job.await_end()
    return job


@case("rankcall run takes nodes and ranks from Slurm, and says so (mpirun)")
def by_mpirun():
    job = started("mpirun", "exec rankcall run --name it -- hello")
    check(f"Slurm job {job.id} on node" in job.text() and "4 ranks (one a task), started by mpirun" in job.text(), job.text())


@case("rankcall run --launch srun, and says what srun can't do")
def by_srun():
    job = started("srun", "exec rankcall run --launch srun --name it -- hello")
    check("started by srun --mpi=pmix" in job.text() and "can't replace a rank" in job.text(), job.text())


@case("a bare mpirun in a batch script")
def bare_mpirun():
    started("bare mpirun", f"export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
            f"exec mpirun {PREFIX}/libexec/rankcall/hello --name it")


@case("a bare srun in a batch script")
def bare_srun():
    started("bare srun", f"exec srun --mpi=pmix {PREFIX}/libexec/rankcall/hello --name it")


@case("on a host outside the allocation it moves to rank 0's node, and says how to reach it")
def from_login():
    lines = []
    run = subprocess.Popen(["salloc", "-Q", "-N2", "-n4", RANKCALL, "run", "--name", "afar", "--", "hello"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reader = threading.Thread(target=lambda: lines.extend(run.stdout))
    reader.start()
    try:
        await_(lambda: any("READY afar" in line for line in lines), "READY")
        text = "".join(lines)
        job = re.search(r"Slurm job (\d+)'s", text)
        check(job and "login" in text and f"--via srun:{job.group(1)}" in text, text)
        out = sh(RANKCALL, "invoke", "-j", "afar", "--via", f"srun:{job.group(1)}", "{}").stdout
        check(json.loads(out)["ranks"] == 4, out)
        command = pathlib.Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()[0]
        os.kill(int(command), signal.SIGTERM)
        check(run.wait(LONG_S) == 0, f"status {run.returncode}\n" + "".join(lines))
    finally:
        run.kill()
        reader.join()


@case("what is asked of the whole job does not keep mpirun from the other nodes: --gpus, --ntasks-per-gpu, --export=NONE", slow=True)
def whole_job():
    asked = [("-N2", "-n4", "--export=NONE")]
    if "gpu:2" in sh("sinfo", "-h", "-o", "%G").stdout:
        asked += [("-n3", "--gpus=4"), ("-n4", "--ntasks-per-gpu=1")]
    jobs = [Batch(f"exec rankcall run --name whole-{i} -- hello", *options) for i, options in enumerate(asked)]
    for i, job in enumerate(jobs):
        status = json.loads(job.rankcall("status", "-j", f"whole-{i}", "--json").stdout)
        check(len(set(ranks_on(status))) >= 2, f"{asked[i]}: {ranks_on(status)}")
        job.cancel()


@case("two jobs share an allocation, and steps beside them need no --overlap", slow=True)
def shared():
    job = Batch("rankcall run -n 3 --name one -- hello & rankcall run -n 3 --launch srun --name two -- hello &\n"
                "for name in one two; do rankcall invoke -j $name --wait 60 '{\"who\": \"'$name'\"}'; done\n"
                "srun -N1 -n1 --relative=0 --mpi=none rankcall invoke -j one '{\"who\": \"step\"}'\n"
                "for name in one two; do rankcall stop -j $name; done; wait", "-N2", "-n6")
    job.await_end()
    for who in ("one", "two", "step"):
        check(f'{{"hello":"{who}","ranks":3}}' in job.text(), job.text())


@case("every task of a step that would start a job of its own is told so", slow=True)
def many_launchers():
    job = Batch("srun -N2 -n3 --mpi=none rankcall run -- hello; echo status $?", "-N2", "-n3")
    job.await_end()
    check(job.text().count("one of 3 tasks of a step") == 3 and "status 20" in job.text(), job.text())


@case("a script that ends without stopping its job leaves no node for lost", slow=True)
def script_ends():
    job = Batch("rankcall run --name $SLURM_JOB_ID -- hello &\nrankcall invoke -j $SLURM_JOB_ID --wait 60 '{}'", "-N2", "-n3")
    job.await_end()
    check('"ranks":3' in job.text() and "cannot start anything" not in job.text() and "is lost" not in job.text(), job.text())


def fake(name, text):
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "srun").write_text("#!/bin/sh\n" + text)
    (folder / "srun").chmod(0o755)
    return folder


@case("where Slurm has no PMIx plugin, the error names it")
def no_plugin():
    folder = fake("no-pmix", 'echo "MPI plugin types are..." >&2; echo none >&2; echo pmi2 >&2\n')
    job = Batch(f"PATH={folder}:$PATH rankcall run --launch srun -- hello; echo status $?", "-N1", "-n2")
    job.await_text("status 20")
    job.await_end()
    check("lacks its plugin mpi/pmix (it has none, pmi2)" in job.text(), job.text())


# ---- Reaching ----


@case("clients reach the job over ssh, and squeue's list tells where it is")
def over_ssh():
    job = Batch("exec rankcall run --name far -- hello", "-N2", "-n2")
    job.await_text("READY far")
    ssh = fake("ssh", f'while [ "${{1#-}}" != "$1" ]; do [ "$1" = -o ] && shift; shift; done\nhost=$1; shift\n'
                      f'exec srun --jobid={job.id} --overlap --mpi=none -N1 -n1 -w "$host" --unbuffered sh -c "$*"\n') / "srun"
    out = sh(RANKCALL, "invoke", "-j", "far", "--via", "ssh:node1", "{}", env={"RANKCALL_SSH": str(ssh)}).stdout
    check(json.loads(out)["ranks"] == 2, out)
    failed = sh(RANKCALL, "invoke", "-j", "other", "--via", "ssh:node1", "{}", env={"RANKCALL_SSH": str(ssh)}, status=4)
    check("no job at" in failed.stderr, failed.stderr)
    table = sh(RANKCALL, "ps", "--slurm").stdout
    check(re.search(rf"^{job.id} .*RUNNING +2 +node1 ", table, re.MULTILINE), table)
    big = WORK / "big.json"
    big.write_text(json.dumps({"who": "x" * (4 << 20)}))
    check(len(job.rankcall("invoke", "-j", "far", f"@{big}").stdout) > 4 << 20, "a large payload")
    job.cancel()


@case("rankcall doctor tries the connections between the nodes")
def doctor():
    job = Batch("rankcall doctor --json; echo ended $?; rankcall doctor", "-N2", "-n2")
    job.await_end()
    found = {one["check"]: one for one in json.loads(job.text().splitlines()[0])}
    for name, text in (("nodes", "to and from 1 of 1"), ("clock", "s apart"), ("slurm-pmix", "mpi/pmix"), ("threads", "MULTIPLE"),
                       ("batch-job", "2 nodes, 2 tasks")):
        check(found[name]["state"] == "ok" and text in found[name]["found"], str(found[name]))
    check("ended 0" in job.text() and "FAILS" not in job.text(), job.text())
    job = Batch("sleep 600", "-N2", "-n2")
    await_(lambda: "RUNNING" in job.state(), "the job to run")
    step = sh("srun", f"--jobid={job.id}", "--overlap", "--mpi=none", "-N1", "-n1", RANKCALL, "doctor", "--json").stdout
    found = {one["check"]: one for one in json.loads(step)}
    check("to and from 1 of 1" in found["nodes"]["found"], f"from a step that was started outside: {found['nodes']}")
    job.cancel()


@case("bursts of 100,000 events from every rank of both nodes arrive whole and in order")
def bursts():
    programs = os.environ.get("RANKCALL_TEST_PROGRAMS")
    if not programs:
        raise Skip("RANKCALL_TEST_PROGRAMS is not set")
    job = Batch(f"rankcall run --name burst -- {programs}/test_worker &\n"
                "rankcall stream -j burst --wait 60 -H burst '{\"count\": 100000}' | python3 -c '"
                "import json, sys\nnext_ones = [0] * 4\nfor line in sys.stdin:\n    item = json.loads(line)\n"
                "    if \"event\" in item:\n        event = item[\"event\"]\n"
                "        assert event[\"sequence\"] == next_ones[event[\"rank\"]], event\n"
                "        next_ones[event[\"rank\"]] += 1\nprint(next_ones, item)'\nrankcall stop -j burst\nwait",
                "-N2", "--ntasks-per-node=2")
    job.await_end()
    check("[100000, 100000, 100000, 100000] {'result'" in job.text(), job.text())


# ---- Ends ----

TRAIN = '{"epochs": 1000, "batch": 1, "rate": 0.001}'  # minutes


def in_mid_call(job, name, *more):
    """A client whose call runs."""
    client = subprocess.Popen([RANKCALL, "stream", "-j", name, "--via", f"srun:{job.id}", "--wait", str(LONG_S), TRAIN, *more],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check('"event"' in client.stdout.readline(), "an event before the end")
    return client


@case("scancel in mid-call: the client hears of it, and nothing is left")
def cancelled():
    for method in ("mpirun", "srun"):
        job = Batch(f"exec rankcall run --launch {method} --name train-{method} -- digits", "-N2", "-n4")
        client = in_mid_call(job, f"train-{method}")
        begun = time.monotonic()
        sh("scancel", job.id)
        await_(lambda job=job: not job.lives(), "the job's end")
        gone = time.monotonic() - begun
        out, err = client.communicate(timeout=LONG_S)
        check(client.returncode not in (0, None), f"the client got a result: {out[-300:]} {err}")
        left = await_(lambda method=method: not processes(f"train-{method}") or None, "the last process to be gone")
        check(left, "processes")
        print(f"# {method}: {gone:.1f} s from scancel to the last process gone, as Slurm sees it")


@case("a rank that dies under srun: the whole job is started again")
def died_under_srun():
    job = Batch("exec rankcall run --launch srun --name mortal -- digits", "-N2", "-n4")
    client = in_mid_call(job, "mortal")
    status = json.loads(job.rankcall("status", "-j", "mortal", "--json").stdout)
    victim = next(rank for rank in status["ranks"] if rank["host"] == "node2")
    sh("srun", f"--jobid={job.id}", "--overlap", "--mpi=none", "-N1", "-n1", "-w", "node2", "kill", "-KILL", victim["pid"])
    out, err = client.communicate(timeout=LONG_S)
    check(client.returncode not in (0, None), f"{out[-300:]} {err}")
    job.await_text("READY again")
    again = json.loads(job.rankcall("status", "-j", "mortal", "--json").stdout)
    check(len(again["ranks"]) == 4 and again["pid"] != status["pid"], str(again))
    job.cancel()


@case("the end of the walltime in mid-call; what can't fit is refused", slow=True)
def walltime():
    job = Batch("rankcall run --name short -- digits; echo ended $?", "-N2", "-n4", "-t1")
    refused = job.rankcall("invoke", "-j", "short", "--timeout", "300", TRAIN, status=21)
    check(re.search(r"may take \S+ s, but \d+ s are left", refused.stderr), refused.stderr)
    refused = job.rankcall("invoke", "-j", "short", "--duration", "300", TRAIN, status=21)
    status = job.rankcall("status", "-j", "short").stdout
    check(re.search(r"^time left +\d", status, re.MULTILINE), status)
    client = in_mid_call(job, "short")
    out, err = client.communicate(timeout=2 * LONG_S)
    check(client.returncode == 21 and "the call was cut off" in err, f"{client.returncode} {out[-300:]} {err}")
    job.await_end()
    check(re.search(r"^ended 0$", job.text(), re.MULTILINE), job.text())


@case("Slurm's warning ends the job in order, it is queued again, and who waits by name finds the next one", slow=True)
def requeue():
    job = Batch("exec rankcall run --requeue --name phoenix -- hello", "-N2", "-n2", "-t5", "--requeue",
                "--signal=B:USR1@60")
    job.rankcall("invoke", "-j", "phoenix", "{}")
    first = json.loads(job.rankcall("status", "-j", "phoenix", "--json").stdout)
    sh("scancel", "--batch", "--signal=USR1", job.id)  # as Slurm would
    job.await_text("goes back into Slurm's queue")
    result = await_(lambda: sh(RANKCALL, "invoke", "-j", "phoenix", "--via", f"srun:{job.id}", "--wait", LONG_S, "{}",
                               status=None, seconds=2 * LONG_S).returncode == 0, "a client that waits", 2 * LONG_S)
    check(result, "the call")
    second = json.loads(job.rankcall("status", "-j", "phoenix", "--json").stdout)
    check(second["uptime"] < first["uptime"] + 3 * LONG_S and len(re.findall("READY phoenix", job.text())) == 2, job.text())
    job.cancel()


# ---- Nodes that are lost ----


class Loss:
    """A node without its network, or without any of its processes, until the end of the block. Then it begins anew."""

    def __init__(self, node, how):
        self.node = node
        self.back = WORK / f"back-{time.monotonic_ns()}"
        self.gone = WORK / f"gone-{time.monotonic_ns()}"
        slurmd = f"env -i PATH={os.environ['PATH']} SLURM_CONF={os.environ['SLURM_CONF']} slurmd -D -N {node}"
        first = {"cut": "ip link set eth0 down", "kill": "kill -KILL -1"}[how]
        script = (f"sleep 0.5; : >{self.gone}; {first}; for i in $(seq 1200); do [ ! -e {self.back} ] || break; sleep 0.1; done; "
                  f"kill -KILL -1; ip link set eth0 up; exec {slurmd}")
        on_node(node, "sh", "-c", f"(setsid sh -c '{script}' </dev/null >/dev/null 2>&1 &)")
        await_(self.gone.exists, f"the loss of {node}")
        self.since = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.back.write_text("")
        await_(lambda: set(sh("sinfo", "-h", "-N", "-o", "%t").stdout.split()) <= {"idle", "mix", "alloc"}, "the nodes to be back")


def lose_node(how, line, *options, wanted=None):
    """A job of four ranks on two nodes loses node2 in a call; `wanted`: the hosts of the ranks that it has then."""
    await_(lambda: sh("sinfo", "-h", "-N", "-o", "%t").stdout.split() == ["idle"] * nodes(), "all nodes to be idle")
    name = f"mortal-{Batch.count}"  # who is still about to end must not be met
    job = Batch(f"rankcall run --name {name} {line} -- digits; echo ended $?", "--no-kill", *options)
    client = in_mid_call(job, name)
    check("node2" in ranks_on(json.loads(job.rankcall("status", "-j", name, "--json").stdout)), "no rank on node2")
    with Loss("node2", how) as loss:
        out, err = client.communicate(timeout=LONG_S)
        told = time.monotonic() - loss.since
        check(client.returncode not in (0, None) and "node2" in err, f"{client.returncode} {out[-300:]} {err}")
        print(f"# told after {told:.2f} s: {err.strip().splitlines()[-1]}")
        check(told < 10, f"it took {told:.2f} s to hear of it")  # 1 s is what is stated; this machine may be crowded
        if not wanted:
            job.await_text(r"^ended [1-9]")
            return job
        job.await_text("READY again")
        print(f"# again after {time.monotonic() - loss.since:.1f} s")
        status = json.loads(job.rankcall("status", "-j", name, "--json").stdout)
        check(ranks_on(status) == wanted, f"{ranks_on(status)}, not {wanted}")
        job.rankcall("stream", "-j", name, '{"epochs": 1}')
    job.cancel()
    return job


for method, how, what in (("srun", "cut", "the network of a node is cut"), ("mpirun", "kill", "all processes of a node are killed"),
                          ("srun", "kill", "all processes of a node are killed")):
    case(f"{what}: the job is back with the ranks that fit ({method})", last=True)(
        lambda how=how, method=method: lose_node(how, f"--launch {method} --on-node-loss shrink", "-N2",
                                                 "--ntasks-per-node=2", wanted=["node1", "node1"]))


@case("a node is lost: the job is back with all ranks on a spare one", last=True)
def spare():
    if nodes() < 3:
        raise Skip("it needs three nodes")
    lose_node("cut", "-n 4", "-N3", "--ntasks-per-node=2", wanted=["node1", "node1", "node3", "node3"])


@case("a node is lost without another place for its ranks: the job ends and says why", last=True)
def no_place():
    job = lose_node("cut", "--on-node-loss fail", "-N2", "--ntasks-per-node=2")
    check("node2 is lost, and the others have 2 places for 4 ranks" in job.text(), job.text())


# ---- The batch scripts, as they stand ----


def example(name, pattern):
    if name == "heterogeneous.sh" and nodes() < 3:
        raise Skip("it needs three nodes")
    job = Batch("", file=ROOT / "examples" / "slurm" / name)
    job.await_end(seconds=2 * LONG_S)
    check(re.search(pattern, job.text()), job.text())
    sites = re.findall(r"SITE (\d) of 3", (ROOT / "examples" / "slurm" / name).read_text())
    check(sorted(sites) == ["1", "2", "3"], f"the marked lines of {name}: {sites}")


for script, wanted in (("single-node.sh", r'"tiles":\['), ("several-nodes.sh", r'"result": {"accuracy":'),
                       ("gpus.sh", r'{"hello":"GPUs","ranks":4}'), ("array.sh", r"wrote array-"),
                       ("client-step.sh", r'(?s)"the first node".*"the second node"'),
                       ("heterogeneous.sh", r'{"hello":"frontend","ranks":2}'), ("python-worker.sh", r'{"mean":2.5,"ranks":2}')):
    case(f"examples/slurm/{script} as it stands")(lambda script=script, wanted=wanted: example(script, wanted))


@case("examples/slurm/requeue.sh as it stands")
def example_requeue():
    job = Batch("", file=ROOT / "examples" / "slurm" / "requeue.sh")
    job.rankcall("invoke", "-j", "requeue", "{}")
    sh("scancel", "--batch", "--signal=USR1", job.id)
    job.await_text("goes back into Slurm's queue")
    job.cancel()


# ---- Running ----


def run(number, name, function):
    begun = time.monotonic()
    try:
        function()
        line = f"ok {number} - {name}"
    except Skip as why:
        line = f"ok {number} - {name} # SKIP {why}"
    except Exception as error:  # pylint: disable=broad-except
        line = f"not ok {number} - {name}\n" + "\n".join(f"# {one}" for one in str(error).splitlines()[-60:])
    for job in getattr(MINE, "jobs", []):
        sh("scancel", "--quiet", job, status=None)
    MINE.jobs = []
    print(f"{line}\n# {time.monotonic() - begun:.1f} s", flush=True)
    return not line.startswith("not")


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [one for one in CASES if wanted in one[0]]
    results = []
    print(f"1..{len(chosen)}", flush=True)
    threads = []
    for number, (name, function, when) in enumerate(chosen, 1):
        if when == "slow":
            threads.append(threading.Thread(target=lambda n=number, t=name, f=function: results.append(run(n, t, f))))
            threads[-1].start()
    for now in ("", "last"):
        for number, (name, function, when) in enumerate(chosen, 1):
            if when == now:
                results.append(run(number, name, function))
        for thread in threads:
            thread.join()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
