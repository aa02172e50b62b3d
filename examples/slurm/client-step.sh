#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# A client as a step of its own beside the job, in the same allocation: --overlap lets it share the job's CPUs. It runs on
# the first node, where the job's socket is; --via srun: brings one on any other node there.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=client-step
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=10
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
client=(rankcall invoke --wait 300)                  # SITE 3 of 3: your client

rankcall run --name "$SLURM_JOB_ID" -- hello &
srun --overlap --mpi=none --nodes=1 --ntasks=1 --relative=0 "${client[@]}" -j "$SLURM_JOB_ID" '{"who": "the first node"}'
srun --overlap --mpi=none --nodes=1 --ntasks=1 --relative=1 "${client[@]}" -j "$SLURM_JOB_ID" --via "srun:$SLURM_JOB_ID" '{"who": "the second node"}'
rankcall stop -j "$SLURM_JOB_ID"
wait
