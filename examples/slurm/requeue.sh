#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# A service that outlives its time: before the allocation ends, no further call begins, the running one may finish, and
# the batch job goes back into the queue. Clients that wait (`rankcall invoke --wait`) find the next one by its name.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=requeue
#SBATCH --ntasks=2
#SBATCH --time=10
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
worker=hello                                         # SITE 3 of 3: your worker program

exec rankcall run --requeue --name "$SLURM_JOB_NAME" -- "$worker"
