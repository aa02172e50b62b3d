# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The command: every subcommand, what it prints where, and its exit statuses."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

from harness import COMMAND, SLOW, Skip, case, check, equal, main, program, wait_until
from strangers_client import STREAM

USAGE = 2


def rankcall(t, *arguments, status=0, **options):
    """Runs the command; (standard output, standard error) when it gave that exit status."""
    if isinstance(options.get("input"), (str, bytes)):
        options["stdin"] = None
    done = t.run(COMMAND, *arguments, **options)
    out, err = done.stdout.decode(), done.stderr.decode()
    equal(done.returncode, status, "exit status of rankcall %s\n%s\n%s" % (" ".join(arguments), out, err))
    return out, err


# ---- Help and mistakes ----


@case("help and version go to standard output")
def help_pages(t):
    for line in (("--help",), ("help",)):
        out, err = rankcall(t, *line)
        check(all(name in out for name in ("run", "invoke", "stream", "ps", "status", "topo", "cancel", "stop", "doctor", "forward")), out)
        equal(err, "", "standard error")
    for name in ("run", "invoke", "stream", "ps", "status", "topo", "cancel", "stop", "doctor", "forward"):
        out, err = rankcall(t, name, "--help")
        check(out.startswith("Usage: rankcall " + name) and not err, out + err)
        equal(rankcall(t, "help", name)[0], out, "`help %s`" % name)
        check(all(len(line) <= 100 for line in out.splitlines()), "a long line in: " + out)
    out, _ = rankcall(t, "--version")
    check(re.fullmatch(r"rankcall \d+\.\d+\.\d+.*\n", out), "version: %r" % out)


@case("one table lists the exit codes")
def exit_codes(t):
    out, _ = rankcall(t, "help", "exit-codes")
    for number, name in ((2, "invalid_argument"), (3, "bad_payload"), (4, "no_job"), (5, "worker_error"), (6, "busy"),
                         (7, "timeout"), (8, "cancelled"), (10, "no_handler"), (19, "job_exists"), (20, "launch_failed")):
        check(re.search(r"^\s*%d\s+%s\b" % (number, name), out, re.MULTILINE), "%d %s is not in\n%s" % (number, name, out))


@case("mistakes on the command line are told, with status 2 and nothing on standard output")
def mistakes(t):
    for line in ((), ("nosuch",), ("invoke", "--nosuch"), ("run",), ("run", "-n", "0", "x"), ("run", "-n", "many", "x"),
                 ("run", "--name", "sp ace", program("test_worker")), ("invoke", "{}", "{}"), ("invoke", "-t", "soon"),
                 ("invoke", "-a", "nofile"), ("stop", "--drain", "-1"), ("cancel",), ("cancel", "x"), ("cancel", "0"), ("cancel", "job", "1", "2"),
                 ("cancel", "--all", "job", "1"), ("status", "one", "two"), ("run", "-n"),
                 ("run", "--payload-cap", "much", program("test_worker")), ("run", "--setup", "[]", program("test_worker")),
                 ("run", "--name", "a", "--socket", "/tmp/b", program("test_worker"))):
        done = t.run(COMMAND, *line)
        check(done.returncode in (USAGE, 3), "rankcall %s: status %d" % (" ".join(line), done.returncode))
        check(done.stderr and not done.stdout, "rankcall %s: %r on standard output" % (" ".join(line), done.stdout))


# ---- invoke ----


@case("invoke prints the result's JSON as one line")
def invoke(t):
    out, err = rankcall(t, "invoke", "-j", t.job.name, "-H", "echo", '{"a": [1, 2.50, "\u00fc"]}')
    equal((json.loads(out), out.count("\n"), err), ({"a": [1, 2.5, "\u00fc"]}, 1, ""))
    equal(rankcall(t, "invoke")[0], "{}\n", "the only job, the default handler, no arguments")
    equal(rankcall(t, "invoke", "-j", t.job.path)[0], "{}\n", "by path")
    equal(rankcall(t, "invoke", env={**t.sandbox.env, "RANKCALL_JOB": t.job.name})[0], "{}\n", "by RANKCALL_JOB")


@case("invoke reads its arguments from a file and from standard input")
def arguments_from(t):
    path = os.path.join(t.sandbox.folder, "args.json")
    with open(path, "w") as file:
        file.write('{\n"from": "file"\n}\n')
    equal(json.loads(rankcall(t, "invoke", "-H", "echo", "@" + path)[0]), {"from": "file"})
    equal(json.loads(rankcall(t, "invoke", "-H", "echo", "-", input=b'{"from": "stdin"}')[0]), {"from": "stdin"})
    _, err = rankcall(t, "invoke", "-H", "echo", "@/no/such/file", status=18)
    check("/no/such/file" in err, err)


@case("invoke attaches files and standard input, and writes what comes back", timeout=60)
def attachments(t):
    folder, out = t.folder("in"), os.path.join(t.sandbox.folder, "new", "out")
    contents = {"a.bin": os.urandom(100000), "p.png": b"\x89PNG\r\n\x1a\n not really", "j.jpg": b"\xff\xd8\xff not really",
                "empty": b""}
    line = ["invoke", "-H", "echo", "-o", out]
    for name, data in contents.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        line += ["-a", name.split(".")[0] + "=" + os.path.join(folder, name)]
    _, err = rankcall(t, *line, "-a", "typed:bytes=-", input=b"from standard input")
    written = {name: open(os.path.join(out, name), "rb").read() for name in os.listdir(out)}
    equal(written, {"a.bin": contents["a.bin"], "p.png": contents["p.png"], "j.jpg": contents["j.jpg"],
                    "empty.bin": b"", "typed.bin": b"from standard input"}, "the files")
    check(all(name in err for name in written), "standard error does not name them: " + err)


@case("arrays go in and come out as .npy files")
def arrays(t):
    folder = t.folder("arrays")
    rankcall(t, "invoke", "-H", "steps", "-o", folder)
    equal(sorted(os.listdir(folder)), ["log.bin", "picture.png", "values.npy"], "files")
    with open(os.path.join(folder, "values.npy"), "rb") as file:
        array = file.read()
    check(array.startswith(b"\x93NUMPY") and b"'descr': '<f4'" in array and b"'shape': (2, 3)" in array, "%r" % array[:128])
    equal(array[-24:], struct.pack("<6f", *range(6)), "values")
    again = os.path.join(t.sandbox.folder, "again")
    rankcall(t, "invoke", "-H", "echo", "-a", "values=" + os.path.join(folder, "values.npy"), "-o", again)
    with open(os.path.join(again, "values.npy"), "rb") as file:
        equal(file.read(), array, "the array that came back")


@case("an attachment's name cannot lead out of the folder")
def bad_names(t):
    folder = t.folder("names")
    with open(os.path.join(t.sandbox.folder, "data"), "w") as file:
        file.write("x")
    for name in ("../escaped", "/tmp/rk-escaped", "..", ".hidden", "a/b", "tab\tname"):
        rankcall(t, "invoke", "-H", "echo", "-o", folder, "-a", name + "=" + os.path.join(t.sandbox.folder, "data"))
    check(not os.path.exists(os.path.join(t.sandbox.folder, "escaped.bin")), "it escaped")
    check(not os.path.exists("/tmp/rk-escaped.bin"), "it escaped to /tmp")
    equal(len(os.listdir(folder)), 6, "files %s" % os.listdir(folder))


@case("each failure has its exit status and says rank, host and message")
def failures(t):
    for line, status, texts in (
            (("-H", "fail", '{"rank": 1, "message": "broke"}'), 5, ("rank 1", t.job.status["host"], "broke")),
            (("-H", "nosuch"), 10, ("nosuch",)), (("-j", "nobody"), 4, ("nobody",)), (("{x}",), 3, ("byte",)),
            (("-H", "wait", "-t", "0.2"), 7, ("timeout",)), (("-a", "x=/no/such/file"), 18, ("/no/such/file",)),
            (("-j", "/" + "x" * 120), 2, ("107",)), (('{"a": 1, "a": 2}',), 3, ("duplicate",))):
        out, err = rankcall(t, "invoke", *line, status=status)
        check(not out and all(text in err for text in texts), "rankcall %s: %r %r" % (" ".join(line), out, err))
        check(err.count("\n") <= 3, "standard error is long: " + err)


@case("a failure is JSON where JSON was asked for")
def json_failures(t):
    out, _ = rankcall(t, "invoke", "--json", "-H", "fail", '{"rank": 1, "message": "broke"}', status=5)
    error = json.loads(out)["error"]
    equal((error["error"], error["rank"], error["host"]), ("worker_error", 1, t.job.status["host"]), "error")
    check("broke" in error["message"], out)


@case("a closed standard output is an error, not a silent success")
def full_output(t):
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, "invoke"], stdout=full, stderr=subprocess.PIPE, env=t.sandbox.env, check=False)
    check(done.returncode != 0 and done.stderr, "status %d, %r" % (done.returncode, done.stderr))


@case("Ctrl-C cancels the call")
def interrupted(t):
    for command in ("invoke", "stream"):
        process = subprocess.Popen([COMMAND, command, "-H", "wait"], env=t.sandbox.env, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        with t.connect() as client:
            wait_until(lambda: client.status()["running"], "the call to run")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10 * SLOW)
            check(process.returncode in (8, 130), "status %d: %s" % (process.returncode, err))
            wait_until(lambda: client.status()["running"] is None, "the call to be cancelled")


# ---- stream ----


@case("stream prints one JSON line an event and one for the result when piped")
def stream_piped(t):
    out, _ = rankcall(t, "stream", "-H", "burst", '{"count": 3, "seed": 5}')
    lines = [json.loads(line) for line in out.splitlines()]
    equal(len(lines), 3 * t.ranks + 1, "lines")
    counts = [0] * t.ranks
    for line in lines[:-1]:
        event = line["event"]
        equal((event["sequence"], event["payload"]["i"]), (counts[event["rank"]],) * 2, "order")
        counts[event["rank"]] += 1
    equal(lines[-1], {"result": {"seed": 5, "count": 3}}, "the last line")


@case("stream's lines come while the call runs")
def stream_live(t):
    process = subprocess.Popen([COMMAND, "stream", "-H", "wait"], env=t.sandbox.env, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    ready, _, _ = select.select([process.stdout], [], [], 20 * SLOW)
    check(ready and b"running" in process.stdout.readline(), "no line in time")
    process.kill()
    process.communicate()


@case("stream says a failure in its last line")
def stream_fails(t):
    out, _ = rankcall(t, "stream", "-H", "fail", '{"rank": 0, "message": "broke"}', status=5)
    last = json.loads(out.splitlines()[-1])
    equal((last["error"]["error"], last["error"]["rank"]), ("worker_error", 0), "the last line")


@case("stream writes the attachments of events and of the result")
def stream_writes(t):
    folder = t.folder("streamed")
    rankcall(t, "stream", "-H", "steps", '{"steps": 3, "attach": true}', "-o", folder)
    equal(sorted(os.listdir(folder)), ["log.bin", "picture.png", "preview-r0-0.jpg", "preview-r0-1.jpg", "preview-r0-2.jpg",
                                       "values.npy"], "files")


def on_terminal(t, *arguments, width=80):
    """Runs the command with its output on a pseudo-terminal; (status, what the terminal got)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(COMMAND, [COMMAND, *arguments], {**t.sandbox.env, "TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    got = b""
    while True:
        ready, _, _ = select.select([terminal], [], [], 20 * SLOW)
        check(ready, "the terminal stays silent")
        try:
            part = os.read(terminal, 65536)
        except OSError:
            part = b""
        if not part:
            break
        got += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), got.decode()


@case("stream draws a progress bar on a terminal")
def stream_bar(t):
    status, got = on_terminal(t, "stream", "-H", "steps", '{"steps": 5}')
    equal(status, 0, "status\n" + got)
    check("100" in got and "step" in got, "no bar: %r" % got)
    check('{"steps":5}' in got.replace(" ", ""), "no result: %r" % got)
    check('{"event"' not in got, "events as JSON: %r" % got)
    for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", got)):
        check(len(line) <= 80, "a line of %d columns: %r" % (len(line), line))


@case("events cannot write control characters on a terminal")
def stream_controls(t):
    _, got = on_terminal(t, "invoke", "-H", "fail", '{"message": "\\u001b]0;owned\\u0007"}')
    check("\x1b]0;" not in got, "%r" % got)


# ---- Completion ----

COMPLETE = '''
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
compopt() { :; }
$(complete -p rankcall | sed -E 's/.* -F ([^ ]+).*/\\1/') rankcall "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
'''


@case("bash completes subcommands, options and names of jobs")
def completion(t):
    path = os.path.join(os.path.dirname(COMMAND), "..", "share", "bash-completion", "completions", "rankcall.bash")
    bash = shutil.which("bash")
    if not bash or not os.path.exists(path):
        raise Skip("bash or the completion is not installed")
    env = {**t.sandbox.env, "PATH": os.path.dirname(COMMAND) + ":" + os.environ["PATH"]}
    for words, wanted in ((("st",), {"stream", "status", "stop"}), (("stop", "-j", ""), {t.job.name}),
                          (("status", ""), {t.job.name}), (("invoke", "--han"), {"--handler"})):
        done = t.run(bash, "-c", COMPLETE, "bash", path, "rankcall", *words, text=True, env=env)
        got = {word.strip() for word in done.stdout.split("\n")} - {""}
        check(wanted <= got, "%s: completed to %s, not %s\n%s" % (words, got, wanted, done.stderr))


# ---- ps, status, stop ----


@case("ps lists jobs, living and stale")
def ps(t):
    out, _ = rankcall(t, "ps")
    check(t.job.name in out and "test_worker" in out, out)
    jobs = json.loads(rankcall(t, "ps", "--json")[0])
    equal([(job["job"], job["state"], job["world_size"]) for job in jobs], [(t.job.name, "ready", t.ranks)], "jobs")
    empty = {**t.sandbox.env, "RANKCALL_RUNTIME_DIR": t.folder("elsewhere")}
    os.chmod(empty["RANKCALL_RUNTIME_DIR"], 0o700)
    equal(json.loads(rankcall(t, "ps", "--json", env=empty)[0]), [], "jobs elsewhere")


@case("status shows the job, and as JSON what the job sent")
def status(t):
    out, _ = rankcall(t, "status", "-j", t.job.name)
    check(all(text in out for text in (t.job.name, "ready", "echo", str(t.job.pids[1]))), out)
    told = json.loads(rankcall(t, "status", t.job.name, "--json")[0])
    equal((told["job"], told["world_size"], told["state"]), (t.job.name, t.ranks, "ready"), "status")
    rankcall(t, "status", "nobody", status=4)


@case("status tells what runs")
def status_running(t):
    with t.connect() as client:
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        out, _ = rankcall(t, "status")
        check("wait" in out, out)


@case("stop ends a job and returns when it is gone", own=True, by=("launcher", "mpirun"))
def stop(t):
    job = t.start()
    rankcall(t, "stop", "-j", job.name)
    equal(job.wait(), 0, "the job's status\n" + job.output())
    check(not os.path.exists(job.path), "the socket is still there")
    rankcall(t, "stop", "-j", job.name, status=4)


@case("stop says which rank has died in its teardown, and of what", ranks=(1, 2), own=True)
def stop_teardown(t):
    for rank in range(t.ranks):
        job = t.start(worker="fault_worker", setup=json.dumps({"teardown": rank, "way": "kill"}))
        _, err = rankcall(t, "stop", "-j", job.name, status=16)
        check("rank %d (pid %d) on" % (rank, job.pids[rank]) in err and "signal 9" in err, err)
        equal(job.wait(), 15, "the job's status\n" + job.output())
        check("rank %d (pid %d)" % (rank, job.pids[rank]) in job.stderr(), job.stderr())


@case("stop lets the running call finish, stop --now cancels it", own=True)
def stop_drain(t):
    for option, status in ((("--drain", "20"), 0), (("--now",), 8)):
        job = t.start()
        call = subprocess.Popen([COMMAND, "invoke", "-H", "slow" if not status else "wait", '{"seconds": 1}'], env=t.sandbox.env,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with job.connect() as client:
            wait_until(lambda: client.status()["running"], "the call to run")
        rankcall(t, "stop", *option)
        _, err = call.communicate(timeout=20 * SLOW)
        equal(call.returncode, status, "the running call\n%s" % err.decode())
        equal(job.wait(), 0, job.output())


@case("without a job's name several jobs are told apart", own=True)
def several(t):
    rankcall(t, "invoke", status=4)
    first, second = t.start(name="first"), t.start(name="second")
    _, err = rankcall(t, "invoke", status=2)
    check("first" in err and "second" in err, err)
    for job in (first, second):
        rankcall(t, "stop", job.name)
        equal(job.wait(), 0, job.output())


# ---- run ----


@case("run says READY with a table of ranks, and prefixes what they print", own=True, ranks=(3,))
def run_ready(t):
    job = t.start()
    out = job.output()
    check(re.search(r"READY.*%s.*3 ranks" % job.name, out), out)
    for rank, pid in enumerate(job.pids):
        check(re.search(r"^\s*%d\s.*\b%d\b" % (rank, pid), out, re.MULTILINE), "rank %d is not in the table\n%s" % (rank, out))
    with job.connect() as client:
        client.invoke("print", {"text": "a line"})
    wait_until(lambda: job.output().count("] a line") == 3, "the printed lines", 10)
    for rank in range(3):
        equal(job.output().count("[rank %d] a line" % rank), 1, "lines of rank %d" % rank)


@case("run keeps the lines of ranks that print much whole and in order", own=True, ranks=(3,))
def run_prints_much(t):
    job = t.start()
    with job.connect() as client:
        client.invoke("print", {"text": "x" * 500, "lines": 3000})
    wait_until(lambda: job.output().count("\n[rank") >= 9000 - 1, "all lines", 20 * SLOW)
    lines = [line for line in job.output().splitlines() if line.startswith("[rank")]
    for rank in range(3):
        mine = [line for line in lines if line.startswith("[rank %d] " % rank)]
        equal(mine, ["[rank %d] %s %d" % (rank, "x" * 500, number) for number in range(3000)], "lines of rank %d" % rank)


@case("run shows debug lines when asked", own=True, by=("launcher", "mpirun"))
def run_debug(t):
    job = t.start(options=("--debug",))
    with job.connect() as client:
        client.invoke("print", {"text": "a line"})
    wait_until(lambda: all("[debug] [rank %d] a line" % rank in job.output() for rank in range(2)), "debug lines", 10)


@case("run --json prints the status as one line on standard output", own=True)
def run_json(t):
    job = t.start(options=("--json",))
    wait_until(lambda: job.stdout().endswith("\n"), "the line", 10)
    with job.connect() as client:
        client.invoke("print", {"text": "a line"})
    told = json.loads(job.stdout())
    equal((told["job"], told["state"], len(told["ranks"])), (job.name, "ready", 2), "status")
    wait_until(lambda: "a line" in job.stderr(), "the ranks' output on standard error", 10)
    equal(job.stdout().count("\n"), 1, "lines on standard output")


@case("run's start timeout leaves nothing and has a status", own=True)
def run_timeout(t):
    began = time.monotonic()
    job = t.start(setup='{"hang": 1}', options=("--timeout", "1"), ready=False)
    equal(job.wait(), 7, job.output())
    check(time.monotonic() - began < 5 * SLOW, "it took %.1f s" % (time.monotonic() - began))


@case("run passes the worker's own arguments", own=True)
def run_arguments(t):
    job = t.start(arguments=("--name", "not-the-jobs", "--", "-x"))
    with job.connect() as client:
        equal(client.invoke("info").json["last_argument"], "-x", "the last argument")
        equal(client.welcome["job"], job.name, "the job's name")


@case("run's setup arguments may come from standard input", own=True)
def run_setup_stdin(t):
    process = subprocess.Popen([COMMAND, "run", "--name", "piped", "--setup", "-", "--", program("test_worker")],
                               env=t.sandbox.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    process.stdin.write(b'{"from": "stdin"}')
    process.stdin.close()
    line = process.stdout.readline().decode()
    check(line.startswith("READY"), line)
    out, _ = rankcall(t, "invoke", "-j", "piped", "-H", "info")
    equal(json.loads(out)["setup"], {"from": "stdin"}, "setup's arguments")
    rankcall(t, "stop", "piped")
    equal(process.wait(20 * SLOW), 0, "the job's status")
    process.stdout.close()


@case("the worker's options go to where {} stands", own=True)
def options_behind_an_interpreter(t):
    words = ["-c", 'exec "$@" own', "sh", program("test_worker"), "{}", "a", "{}", "b"]
    t.job = t.start(program_path="/bin/sh", arguments=words)
    with t.job.connect() as client:
        info = client.invoke("info").json
        equal(info["last_argument"], "own", "last argument")


main("command")
