# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""What a result depends on: the machine, its MPI, and how busy it was."""

import datetime
import os
import platform
import re
import subprocess


def first_match(path, pattern):
    try:
        with open(path) as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def output(*line):
    try:
        return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe(bench, source):
    """Settings as they are before the run. Of a source tree without git no commit is known."""
    version = first_match(os.path.join(bench.build, "config.log"), r"^PACKAGE_VERSION='(.*)'")
    commit = output("git", "-C", source, "describe", "--always", "--dirty").strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "version": version + (" (%s)" % commit if commit else ""),
        "compiler": first_match(os.path.join(bench.build, "config.log"), r"^CC='(.*)'") + " " +
                    first_match(os.path.join(bench.build, "config.log"), r"^CFLAGS='(.*)'"),
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*: (.*)"),
        "cpus": bench.cpus,
        "kernel": platform.release(),
        "mpirun": " ".join(bench.mpirun_line("N", "")[1:-1]),
        "mpi": "Open MPI " + (re.findall(r"[0-9]+\.[0-9.]+", output(bench.mpirun, "--version")) or ["?"])[0],
        "load_before": round(os.getloadavg()[0], 2),
    }


def yields(bench, ranks):
    """How MPI's waiters wait, in words."""
    if "OMPI_MCA_mpi_yield_when_idle" in os.environ:
        return "as the environment says"
    return ", ".join("%d ranks: %s" % (count, "on" if bench.yields(count) else "off") for count in ranks)
