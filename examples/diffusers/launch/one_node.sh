#!/bin/sh
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
# Trains on this machine's GPUs, a process on each:
#
#   launch/one_node.sh --config runs/sd3/options.yaml --output runs/sd3-again
#   FSDP=launch/fsdp_flux.yaml launch/one_node.sh --model flux ...     the frozen weights shared out among the GPUs
#   PROCESSES=2 launch/one_node.sh --tiny --output runs/tiny           on CPUs
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
processes=${PROCESSES:-$(python -c 'import torch; print(torch.cuda.device_count() or 1)')}
if [ -n "${FSDP:-}" ]; then
  exec accelerate launch --config_file "$FSDP" --num_processes "$processes" "$here/train.py" "$@"
fi
exec torchrun --standalone --nproc-per-node "$processes" "$here/train.py" "$@"
