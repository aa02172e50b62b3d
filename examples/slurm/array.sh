#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# A job array: every task is a job of its own, with a name of its own, and takes its share of the inputs.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=array
#SBATCH --array=0-1
#SBATCH --ntasks=2
#SBATCH --time=10
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
inputs=("$prefix"/share/rankcall/data/*.png)         # SITE 3 of 3: what is to be worked on
job=$SLURM_ARRAY_JOB_ID-$SLURM_ARRAY_TASK_ID

rankcall run --name "$job" -- photogrid &
for ((i = SLURM_ARRAY_TASK_ID; i < ${#inputs[@]}; i += SLURM_ARRAY_TASK_COUNT)); do
    rankcall invoke -j "$job" --wait 300 -a image="${inputs[i]}" '{"size": 160}' -o "array-$job"
done
rankcall stop -j "$job"
wait
