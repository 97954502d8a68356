# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Credit: the advantages of an update's samples, whichever process has drawn them."""

from dataclasses import dataclass

import numpy as np

import tempflow
from errors import TrainerError


@dataclass
class Part:
    """A rollout of some of an update's prompts, and what its samples are worth."""

    rollout: tempflow.Rollout
    scores: dict  # of each reward, a number per sample
    advantages: tempflow.Advantages | None = None


def credit(parts: list[Part], rewards, options, processes) -> dict:
    """Fills in the parts' advantages; what to log."""
    everyone = processes.gather({name: np.concatenate([part.scores[name] for part in parts]) for name in rewards.names})
    scores = {name: np.concatenate([each[name] for each in everyone]) for name in rewards.names}
    if not np.isfinite(rewards.total(scores)).any():
        raise TrainerError("no sample of the update has a reward; " + "; ".join(rewards.complaints()))
    found = tempflow.joint_advantages([part.rollout for part in parts], [rewards.total(part.scores) for part in parts],
                                      of=options.group, group=processes.group, scale=options.advantage_scale,
                                      epsilon=options.advantage_epsilon, not_finite="exclude", group_size=options.group_size)
    for part, advantages in zip(parts, found):
        part.advantages = advantages
    statistics = found[0].statistics
    return {"reward": statistics.reward_mean, "reward_std": statistics.reward_std, **means(scores),
            "samples": statistics.samples, "excluded": statistics.excluded, "groups": statistics.groups,
            "dead_groups": statistics.dead_groups}


def means(scores: dict) -> dict:
    """The mean of each reward over the samples that have one; nan if none has."""
    return {name: float(np.nanmean(s)) if np.isfinite(s).any() else float("nan") for name, s in scores.items()}
