# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes, as torchrun and accelerate start them. Each takes its share of every prompt's initial noises."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from errors import TrainerError


def device_of(named: str) -> torch.device:
    """The device of a name. Of "cuda", this process's GPU; of no name too, if there is one."""
    if named == "cuda" or (not named and torch.cuda.is_available()):
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device(named or "cpu")


class Processes:
    """This process among all of a run. Alone, nothing is sent. `group` is torch.distributed's, None alone."""

    def __init__(self, options) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device, self.group = device_of(options.device), None
        samples = options.noises_per_prompt
        if samples % self.count:
            raise TrainerError(f"{samples} initial noises per prompt do not divide among {self.count} processes")
        self.share = samples // self.count
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.count > 1:
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(seconds=options.process_timeout))
            self.group = dist.group.WORLD

    @property
    def first_seed(self) -> int:
        return self.rank * self.share

    @property
    def main(self) -> bool:
        return self.rank == 0

    def gather(self, value) -> list:
        """Everyone's value, by rank."""
        if self.group is None:
            return [value]
        values = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def close(self) -> None:
        if self.group is not None and dist.is_initialized():
            dist.destroy_process_group()
