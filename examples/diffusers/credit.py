# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Credit: the advantages of an update's samples, whichever process has drawn them."""

from dataclasses import dataclass

import numpy as np
import torch

import tempflow
from errors import TrainerError


@dataclass
class Part:
    """A rollout of some of an update's prompts, and what its samples are worth."""

    rollout: tempflow.Rollout
    scores: dict  # of each reward, a number per sample
    advantages: torch.Tensor | None = None
    excluded: np.ndarray | None = None  # samples without a reward


def credit(parts: list[Part], rewards, options, processes) -> dict:
    """Fills in the parts' advantages; what to log. The samples of all processes are put in one order first, so that the
    number of processes changes no bit of an advantage."""
    identities = np.concatenate([[s[:4] for s in part.rollout.identities] for part in parts])
    groups = np.concatenate([part.rollout.groups(options.group).numpy() for part in parts])
    scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in rewards.names}
    everyone = processes.gather((identities, groups, scores))
    order = np.lexsort(np.concatenate([each[0] for each in everyone]).T[::-1])
    scores = {name: np.concatenate([each[2][name] for each in everyone])[order] for name in rewards.names}
    totals = rewards.total(scores)
    if not np.isfinite(totals).any():
        raise TrainerError("no sample of the update has a reward; " + "; ".join(rewards.complaints()))
    found = tempflow.group_advantages(totals, np.concatenate([each[1] for each in everyone])[order],
                                      scale=options.advantage_scale, epsilon=options.advantage_epsilon,
                                      not_finite="exclude", group_size=options.group_size)
    places = np.argsort(order)  # of each gathered sample
    mine = places[sum(len(each[1]) for each in everyone[:processes.rank]):]
    first = 0
    for part in parts:
        of = mine[first:first + len(part.rollout.identities)]
        part.advantages, part.excluded = found.values[of], ~np.isfinite(totals[of])
        first += len(of)
    statistics = found.statistics
    means = {name: float(np.nanmean(s)) if np.isfinite(s).any() else float("nan") for name, s in scores.items()}
    return {"reward": statistics.reward_mean, "reward_std": statistics.reward_std, **means,
            "samples": statistics.samples, "excluded": statistics.excluded, "groups": statistics.groups,
            "dead_groups": statistics.dead_groups}
