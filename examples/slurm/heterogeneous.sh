#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# A heterogeneous job: a node without GPUs has the frontend, which is this script, and others have the ranks. --het-group
# says where these go; the frontend reaches them through a step on their first node.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=heterogeneous
#SBATCH --ntasks=1 --time=10
#SBATCH hetjob
#SBATCH --nodes=2 --ntasks-per-node=1   # SITE 3 of 3: and --gpus-per-node
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
worker=hello

rankcall run --het-group 1 --name "$SLURM_JOB_ID" -- "$worker" &
rankcall invoke -j "$SLURM_JOB_ID" --via "srun:$SLURM_JOB_ID+1" --wait 300 '{"who": "frontend"}'
rankcall stop -j "$SLURM_JOB_ID" --via "srun:$SLURM_JOB_ID+1"
wait
