#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
#
# A worker in Python. The package finds its C library beside the command; {} stands for the options of the ranks.
#
# Change the lines marked SITE: the partition, where rankcall is installed, what runs.
#SBATCH --job-name=python-worker
#SBATCH --nodes=1
#SBATCH --ntasks=2
#SBATCH --time=10
##SBATCH --partition=compute                       # SITE 1 of 3: remove one # and name a partition, if you must

prefix=${RANKCALL_PREFIX:-$HOME/rankcall}            # SITE 2 of 3: where rankcall is installed
export PATH=$prefix/bin:$PATH
python=(python3)                                     # SITE 3 of 3: the interpreter that has the package rankcall
here=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's,^ *Command=\(.*\)/[^/]*$,\1,p')
export PYTHONPATH=$here${PYTHONPATH:+:$PYTHONPATH}

rankcall run --name "$SLURM_JOB_ID" -- "${python[@]}" -m rankcall.worker {} mean:Mean &
rankcall invoke -j "$SLURM_JOB_ID" --wait 300 '{"values": [1, 2, 3, 4]}'
rankcall stop -j "$SLURM_JOB_ID"
wait
