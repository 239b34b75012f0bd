#!/bin/bash
# All GPUs of one machine, or of several without a scheduler.
# For several, run it on each; the first argument is the same on all of them: the name of one machine.
# examples/train.sh              one machine
# examples/train.sh node1 2      on each of two machines
set -euo pipefail
gpus=$(nvidia-smi --list-gpus | wc -l)
if [ $# -eq 2 ]; then rendezvous=(--nnodes "$2" --rdzv-backend c10d --rdzv-endpoint "$1:29500"); else rendezvous=(--standalone); fi
torchrun "${rendezvous[@]}" --nproc-per-node "$gpus" -m medseg train --data kvasir-seg --data-root data --model ducknet \
    --batch-size $((16 * gpus * ${2:-1})) --out runs/ducknet
