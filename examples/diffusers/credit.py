# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Credit: the advantages of an update's samples, whichever process has drawn them."""

from dataclasses import dataclass

import numpy as np

import tempflow
import torch
from errors import TrainerError
from finished import Finished


@dataclass
class Part:
    """A rollout of some of an update's prompts, and what its samples are worth, or its rows (`of_rows`)."""

    rollout: tempflow.Rollout | Finished
    scores: dict  # of each reward, a number per sample
    advantages: tempflow.Advantages | None = None
    of_rows: bool = False

    @property
    def states(self) -> int:
        """States that the rollout has left to train on."""
        rollout = self.rollout
        return rollout.states_to_train if isinstance(rollout, Finished) else rollout.table[:, 0].unique().numel()

    def others(self, share: int, of: int, by: str) -> list[int]:
        """Samples (or rows) that are another optimiser step's share: they are dealt out by "seed" or by "branch"."""
        column = {"seed": 1, "branch": 3}[by]
        numbers = self.rollout.table[:, 6 + column].tolist() if self.of_rows else [s[column] for s in self.rollout.identities]
        return [i for i, number in enumerate(numbers) if number % of != share]


def credit(parts: list[Part], rewards, options, method, processes) -> dict:
    """Fills in the parts' advantages; what to log."""
    everyone = processes.gather({name: np.concatenate([part.scores[name] for part in parts]) for name in rewards.names})
    scores = {name: np.concatenate([each[name] for each in everyone]) for name in rewards.names}
    if not np.isfinite(rewards.total(scores)).any():
        raise TrainerError("no sample of the update has a reward; " + "; ".join(rewards.complaints()))
    estimator = {"scale": options.advantage_scale, "epsilon": options.advantage_epsilon, "std": method.std,
                 "not_finite": "exclude"}
    totals = [rewards.total(part.scores) for part in parts]
    if method.groups == "depth":
        found = _row_advantages(parts, totals, processes, **estimator)
    else:
        found = tempflow.joint_advantages([part.rollout for part in parts], totals, of=options.group, group=processes.group,
                                          group_size=options.group_size, **estimator)
    for part, advantages in zip(parts, found):
        part.advantages, part.of_rows = advantages, method.groups == "depth"
    statistics, total = found[0].statistics, rewards.total(scores)
    return {"reward": statistics.reward_mean, "reward_std": statistics.reward_std, **means(scores),
            "samples": len(total), "excluded": int((~np.isfinite(total)).sum()), "groups": statistics.groups,
            "dead_groups": statistics.dead_groups}


def _row_advantages(parts: list[Part], totals, processes, **estimator) -> list[tempflow.Advantages]:
    """Of rows, by the rewards of the samples that they led to, within a tree's depth. A tree is in one process; statistics are
    of all."""
    fused = [part.rollout.fused_rewards(total, exclude_not_finite=True) for part, total in zip(parts, totals)]
    everyone = processes.gather((torch.cat([part.rollout.groups("depth") for part in parts]), torch.cat(fused)))
    groups, rewards = (torch.cat(columns) for columns in zip(*everyone))
    found = tempflow.group_advantages(rewards, groups, **estimator)
    excluded = torch.zeros(len(rewards), dtype=torch.bool)
    excluded[found.excluded] = True
    first = sum(len(each[1]) for each in everyone[:processes.rank])
    cuts = torch.arange(first, first + sum(map(len, fused))).split([len(rows) for rows in fused])
    return [tempflow.Advantages(found.values[at], excluded[at].nonzero().flatten().tolist(), found.statistics) for at in cuts]


def means(scores: dict) -> dict:
    """The mean of each reward over the samples that have one; nan if none has."""
    return {name: float(np.nanmean(s)) if np.isfinite(s).any() else float("nan") for name, s in scores.items()}
