#!/bin/sh
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
# Trains on several machines. To run on each of them, with the same arguments but for NODE:
#
#   NODES=2 NODE=0 MAIN=10.0.0.1 launch/several_nodes.sh --config options.yaml --output /shared/runs/sd3
#   NODES=2 NODE=1 MAIN=10.0.0.1 launch/several_nodes.sh --config options.yaml --output /shared/runs/sd3
#
# NODES: how many. NODE: which of them this is, from 0 on. MAIN: the address of node 0, PORT a free port of it (29500).
# PROCESSES: on each, all GPUs if left out. FSDP: as in one_node.sh. Node 0 writes to the output folder; to --resume, all read it.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
: "${NODES:?how many machines}" "${NODE:?which of them this is, from 0 on}" "${MAIN:?the address of node 0}"
port=${PORT:-29500}
processes=${PROCESSES:-$(python -c 'import torch; print(torch.cuda.device_count() or 1)')}
if [ -n "${FSDP:-}" ]; then
  exec accelerate launch --config_file "$FSDP" --num_machines "$NODES" --machine_rank "$NODE" --main_process_ip "$MAIN" \
    --main_process_port "$port" --num_processes "$((NODES * processes))" "$here/train.py" "$@"
fi
exec torchrun --nnodes "$NODES" --node-rank "$NODE" --master-addr "$MAIN" --master-port "$port" \
  --nproc-per-node "$processes" "$here/train.py" "$@"
