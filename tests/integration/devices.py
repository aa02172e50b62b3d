# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Pretended GPUs: what a driver shows, and the doubles of CUDA's run time and NCCL in place of the real ones."""

import os

from harness import program

UUID = "GPU-00000000-0000-0000-0000-%012x"


def pretend_gpus(t, count):
    """What a driver with GPUs shows; RANKCALL_TEST_GPUS has ranks look there."""
    root = t.folder("driver%d" % len(t.jobs))
    for i in range(count):
        folder = os.path.join(root, "gpus", "0000:%02x:00.0" % (16 + i))
        os.makedirs(folder)
        with open(os.path.join(folder, "information"), "w") as file:
            file.write("Model: \t\t A Pretended GPU\nGPU UUID: \t %s\nDevice Minor: \t %d\nGPU Excluded:\t No\n" % (UUID % i, i))
        with open(os.path.join(root, "nvidia%d" % i), "w"):
            pass
    return {"RANKCALL_TEST_GPUS": root}


def double_gpus(t, count, **variables):
    """The same, with devices that compute: doubles that live in the workers' processes."""
    return {**pretend_gpus(t, count), "RANKCALL_TEST_CUDA_MODULE": program("libcuda_double.so"),
            "RANKCALL_TEST_NCCL": program("libnccl_double.so"), **variables}


def aware_mpi():
    """An MPI that is CUDA-aware, of these doubles."""
    return {"LD_PRELOAD": ":".join(filter(None, (program("libmpi_double.so"), os.environ.get("LD_PRELOAD"))))}
