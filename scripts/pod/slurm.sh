#!/usr/bin/env bash
# One process per node under SLURM with all its GPUs; requeued when it is preempted.
#
#   sbatch --nodes 4 --gpus-per-node 8 scripts/pod/slurm.sh FACES OUT
#
#SBATCH --job-name perceptual-jax
#SBATCH --ntasks-per-node 1
#SBATCH --requeue
#SBATCH --signal TERM@120
set -u
srun --kill-on-bad-exit=0 perceptual-jax restore "$1" --out "$2" --distributed
code=$?
# 75: ended by SIGTERM before all inputs were restored.
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
