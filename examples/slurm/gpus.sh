#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# GPUs of several nodes: one rank a GPU. --gpus-per-node rather than --gpus-per-task, which would hide a rank's GPU from
# its neighbours, and NCCL would have to go through host memory.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=gpus
#SBATCH --nodes=2
#SBATCH --gpus-per-node=2        # SITE 3 of 3: as many as a node has; your worker below
#SBATCH --time=10
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
worker=hello

rankcall run --name "$SLURM_JOB_ID" -- "$worker" &
rankcall invoke -j "$SLURM_JOB_ID" --wait 300 '{"who": "GPUs"}'
rankcall status -j "$SLURM_JOB_ID"
rankcall stop -j "$SLURM_JOB_ID"
wait
