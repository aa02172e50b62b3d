#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# One node: a job of four ranks, called from the script that started it.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=single-node
#SBATCH --nodes=1
#SBATCH --ntasks=4
#SBATCH --time=10
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
worker=photogrid                                     # SITE 3 of 3: your worker program

rankcall run --name "$SLURM_JOB_ID" -- "$worker" &
rankcall invoke -j "$SLURM_JOB_ID" --wait 300 -a image="$prefix/share/rankcall/data/chelsea.png" '{}' -o "photogrid-$SLURM_JOB_ID"
rankcall stop -j "$SLURM_JOB_ID"
wait
