#!/usr/bin/env bash
# A preemptible TPU pod slice restores a folder; after preemption it is requested again and resumes.
#
#   PROJECT=my-project ZONE=us-east5-b bash scripts/pod/tpu.sh v5litepod-16 FACES OUT
#
# FACES and OUT are addresses, gs://bucket/faces and gs://bucket/run, or lie on a disk that all hosts
# mount (Filestore, or a bucket through gcsfuse).
set -u
type=$1 faces=$2 out=$3 name=perceptual-jax
flags=(--project "$PROJECT" --zone "$ZONE")
queue() { gcloud compute tpus queued-resources "$@" "${flags[@]}"; }
on() { gcloud compute tpus tpu-vm ssh "$name" "${flags[@]}" --worker "$1" --command "$2"; }

while true; do
  queue create "$name" --node-id "$name" --accelerator-type "$type" \
    --runtime-version v2-alpha-tpuv5-lite --spot
  until [ "$(queue describe "$name" --format 'value(state.state)')" = ACTIVE ]; do sleep 30; done
  on all "pip install -q 'perceptual-jax[tpu,stores]'"
  # Every host runs the same command; the faces are distributed by the hash of their names.
  if on all "perceptual-jax restore $faces --out $out --distributed"; then
    on 0 "perceptual-jax job merge $out"
    queue delete "$name" --force --quiet
    break
  fi
  # Preempted, or some faces failed: those are quarantined, so the next round succeeds.
  queue delete "$name" --force --quiet
done
