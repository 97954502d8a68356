# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Several processes, as torchrun starts them. Each takes its share of every prompt's initial noises."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from errors import TrainerError


class Processes:
    """This process among all of a run. Alone, nothing is sent."""

    def __init__(self, options) -> None:
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        self.device = torch.device(options.device or (f"cuda:{local}" if torch.cuda.is_available() else "cpu"))
        samples = options.seeds_per_prompt * (options.explorations if options.method == "flow-grpo" else 1)
        if samples % self.count:
            raise TrainerError(f"{samples} initial noises per prompt do not divide among {self.count} processes")
        self.share = samples // self.count
        if self.count > 1:
            backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=timedelta(seconds=options.process_timeout))

    @property
    def first_seed(self) -> int:
        return self.rank * self.share

    @property
    def main(self) -> bool:
        return self.rank == 0

    def gather(self, value) -> list:
        """Everyone's value, by rank."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def sum_gradients(self, parameters: list) -> None:
        """Gradients become the sum of all processes'; one that has none counts 0."""
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        if self.count > 1:
            flat = torch.cat([p.grad.flatten() for p in parameters])
            dist.all_reduce(flat)
            for p, grad in zip(parameters, flat.split([p.numel() for p in parameters])):
                p.grad.copy_(grad.reshape(p.shape))

    def close(self) -> None:
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()
