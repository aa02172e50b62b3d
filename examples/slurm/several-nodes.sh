#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# Several nodes: one rank a task. Neither hosts nor the number of ranks are named: Slurm knows them. When a node is lost the
# job goes on with the ranks that fit on the others: --no-kill and --on-node-loss.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=several-nodes
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=10
#SBATCH --no-kill
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
worker=digits                                        # SITE 3 of 3: your worker program

rankcall run --on-node-loss shrink --name "$SLURM_JOB_ID" -- "$worker" &
rankcall stream -j "$SLURM_JOB_ID" --wait 300 '{"epochs": 5}'
rankcall stop -j "$SLURM_JOB_ID"
wait
