# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""FSDP: the frozen weights shared out among the processes, block by block, by torch's fully_shard, which accelerate calls
FSDP version 2. LoRA stays whole in each process: its optimiser, average, checkpoints and gradients know nothing of it.

`accelerate launch` hands its fsdp_config over in environment variables. Of them the trainer takes whether to shard at all and
fsdp_reshard_after_forward; where it cannot do what they ask, it says so.
"""

import os
import warnings

from errors import TrainerError


def _asked(name: str, default: str = "false") -> bool:
    return os.environ.get(name, default).lower() in ("true", "1", "full_shard")


def is_wanted(options) -> bool:
    """Whether the run shards. Raises TrainerError for a configuration of accelerate's that the trainer cannot follow."""
    by_accelerate = _asked("ACCELERATE_USE_FSDP")
    if by_accelerate and os.environ.get("FSDP_VERSION", "1") != "2":
        raise TrainerError("accelerate's configuration has fsdp_version 1; the trainer shards by version 2")
    if by_accelerate and _asked("FSDP_OFFLOAD_PARAMS"):
        raise TrainerError("accelerate's configuration has fsdp_offload_params; the trainer keeps shards on the device")
    if (options.shard or by_accelerate) and int(os.environ.get("WORLD_SIZE", 1)) == 1:
        raise TrainerError("there is one process, and nothing to shard among; start several (launch/), or leave shard out")
    return options.shard or by_accelerate


def shard(transformer, device) -> None:
    """Leaves each process its part of the frozen weights, on the device. What trains is not touched."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    # FLUX.1's blocks return views, which its transformer does not write to.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module \(\w+\) returned a view tensor")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),))
    options = {"mesh": mesh, "ignored_params": {p for p in transformer.parameters() if p.requires_grad},
               "reshard_after_forward": _asked("FSDP_RESHARD_AFTER_FORWARD", "true")}
    for block in [m for m in transformer.modules() if type(m).__name__ in transformer._no_split_modules]:
        fully_shard(block, **options)
    fully_shard(transformer, **options)
