# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Finished samples to train on: drawn by the ODE, each noised again to every noise level that trains.

x = (1 - t) x0 + t z, with z of the sample's identity and the step whose noise level t is: the same for any batch, and for any
number of processes.
"""

import random
from dataclasses import dataclass

import torch

import tempflow

_NO_DRAW = 0  # branch of an identity: samples of the ODE have no other


@dataclass(eq=False)
class Finished:
    """A rollout of finished samples (N, *shape), for credit.py and for batches."""

    samples: torch.Tensor
    identities: list[tempflow.Identity]
    key: tuple[int, int]
    noise_levels: int

    def groups(self, of: str) -> torch.Tensor:
        if of != "prompt":
            raise tempflow.GroupError(f"groups of {of}: finished samples are compared within their prompt")
        return torch.tensor([s.prompt for s in self.identities])

    @property
    def states_to_train(self) -> int:
        return len(self.identities) * self.noise_levels


def sample(velocity, course, prompts: list[int], key, **options) -> Finished:
    """`course.share` samples of each prompt."""
    samples = tempflow.sample(velocity, course.chain, prompts, key, samples_per_prompt=course.share,
                              first_seed=course.first_seed, **options)
    identities = [tempflow.Identity(prompt, course.first_seed + i, len(course.chain) - 1, _NO_DRAW, -1, -1)
                  for prompt in prompts for i in range(course.share)]
    return Finished(samples, identities, key, len(course.steps))


class FinishedBatches:
    """The batches of one optimiser step, as tempflow.JointMinibatches has those of rollouts: all processes have the same
    number, and losses are a mean over the rows of all. `leave_out`: samples of each part that do not train."""

    def __init__(self, parts, course, *, leave_out, size: int, skip_zeros: bool, processes) -> None:
        self.course, self.size = course, size
        self.key = parts[0].rollout.key
        self.samples = [part.rollout.samples for part in parts]
        first, rows = parts[0].rollout.identities[0], []
        self.idle = [(0, 0, first.prompt, first.seed, course.steps[0], 0.0)]
        for at, (part, left_out) in enumerate(zip(parts, leave_out)):
            left_out = set(left_out) | set(part.advantages.excluded)
            for i, (identity, advantage) in enumerate(zip(part.rollout.identities, part.advantages.values.tolist())):
                if i not in left_out and not (skip_zeros and advantage == 0):
                    rows += [(at, i, identity.prompt, identity.seed, step, advantage) for step in course.steps
                             if not (skip_zeros and course.weights[step] == 0)]
        random.Random(f"{self.key} {processes.rank}").shuffle(rows)
        self.own = rows
        counts = processes.gather(len(rows))
        self.rows, self.length = sum(counts), max(-(-count // size) for count in counts)

    def __iter__(self):
        for number in range(self.length):
            yield self._batch(self.own[number * self.size:(number + 1) * self.size], number + 1 == self.length)

    def _batch(self, rows: list, last: bool) -> tempflow.Batch:
        chosen = rows or self.idle  # a state without rows, to stay in step with the other processes
        y = torch.stack([self.samples[at][i] for at, i, *_ in chosen])
        prompts, seeds, steps = (torch.tensor(column) for column in list(zip(*chosen))[2:5])
        sigma = self.course.chain.table[steps, 3]
        ids = torch.stack([prompts, seeds, steps, torch.zeros_like(steps)], 1)
        x, count = tempflow.noised(y, sigma, ids, self.key), len(rows)
        return tempflow.Batch(
            x=x, y=y[:count], sigma=sigma.float().to(y.device), prompts=prompts.to(y.device),
            transitions=tempflow.clean_transitions(sigma), offsets=torch.arange(len(chosen) + 1).clamp(max=count),
            old_log_probs=None,
            advantages=torch.tensor([row[-1] for row in rows], dtype=torch.float64),
            weights=self.course.weights[steps][:count], mean_over=self.rows, completes_update=last, without_zeros=False,
            drawn=None, rows=torch.arange(count), rollout=None, terms=self.course.method.terms)
