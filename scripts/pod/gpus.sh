#!/usr/bin/env bash
# One host with several GPUs: one process shards each batch over them; restarted after SIGTERM.
#
#   bash scripts/pod/gpus.sh FACES OUT
set -u
while true; do
  perceptual-jax restore "$1" --out "$2"
  code=$?
  [ "$code" -eq 75 ] || break
done
perceptual-jax job merge "$2"
exit "$code"
