# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""From rewards to advantages, by sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._operators import ops
from .errors import InvalidValueError, ShapeError, typed
from .steps import _leaf_free

Numbers = Tensor | Sequence[float]


def _numbers(values, name: str = "rewards") -> torch.Tensor:
    _leaf_free("tempflow", **{name: values})
    return torch.as_tensor(values, dtype=torch.float64, device="cpu").detach().contiguous()


def _group_ids(groups) -> torch.Tensor:
    ids = torch.as_tensor(groups, device="cpu")
    if ids.is_floating_point() or ids.is_complex():
        raise InvalidValueError(f"groups are {ids.dtype}, expected whole numbers")
    return ids.to(torch.int64).contiguous()


@dataclass(frozen=True)
class GroupStatistics:
    """What the groups of an update looked like: docs of group_statistics in advantage/group_advantages.hpp."""

    samples: int
    excluded: int  # of them, those whose reward is not finite
    groups: int
    smallest_group: int
    largest_group: int
    singletons: int
    zero_std_groups: int  # of two and more equal rewards
    reward_mean: float
    reward_std: float
    group_std_mean: float
    dead_groups: int  # whose advantages are all 0


@dataclass(frozen=True, eq=False)
class Advantages:
    """Advantages in the order of the rewards, (N) float64; the samples that were excluded; statistics."""

    values: torch.Tensor
    excluded: list[int]
    statistics: GroupStatistics


def _set_of(values, excluded, numbers) -> Advantages:
    return Advantages(values, excluded.tolist(), _statistics_of(numbers.tolist()))


def _statistics_of(numbers: list[float]) -> GroupStatistics:
    fields = zip(GroupStatistics.__dataclass_fields__.values(), numbers)
    return GroupStatistics(*(int(n) if f.type is int else n for f, n in fields))


@typed
def group_advantages(rewards: Numbers, groups: Numbers, *, scale: str = "group_std", std: str = "population", epsilon: float = 1e-4,
                     epsilon_rule: str = "add", not_finite: str = "refuse", baseline: str = "group_mean", min_std: float = 0.0,
                     group_size: int = 0) -> Advantages:
    """How much better each sample did than its group: (R - mean of the group) / (std + epsilon).

    rewards: (N). groups: (N) integers, the same for samples of one group, in any order. scale: group_std, global_std or
    none (Dr.GRPO). std: population (Flow-GRPO) or sample (DanceGRPO). epsilon: added to the std, or, with
    epsilon_rule="floor", the least that it is taken for. not_finite: "refuse" raises for a reward that is not finite,
    "exclude" leaves it out of means and of training. baseline: group_mean, or others_mean, without the sample itself (with
    scale="none" RLOO). min_std: a group whose std is below it has advantages of 0. group_size: samples that each group
    must have; 0: any number.

    Raises GroupError when there is nothing to compare or a group has another size, InvalidValueError for a reward.
    Source: GRPO, arXiv 2402.03300; Flow-GRPO, flow_grpo/stat_tracking.py.
    """
    return _set_of(*ops.group_advantages(_numbers(rewards), _group_ids(groups), scale, std, epsilon, epsilon_rule, not_finite,
                                         baseline, min_std, group_size, None))


@typed
def trimmed_advantages(rewards: Numbers, groups: Numbers, trim: float, *, scale: str = "group_std", std: str = "population",
                       epsilon: float = 1e-4, epsilon_rule: str = "add", not_finite: str = "refuse", min_std: float = 0.0,
                       group_size: int = 0) -> Advantages:
    """group_advantages whose means and stds are of each group without its lowest floor(n trim) of n rewards: MixGRPO, arXiv
    2507.21802. scale: group_std or none."""
    return _set_of(*ops.group_advantages(_numbers(rewards), _group_ids(groups), scale, std, epsilon, epsilon_rule, not_finite,
                                         "group_mean", min_std, group_size, trim))


@dataclass(frozen=True)
class RewardStatistics:
    """What one of several rewards looked like, over the samples that it applies to; NaN where there are none."""

    samples: int
    not_applicable: int  # of them, those that the reward says nothing about
    mean: float
    std: float
    min: float
    max: float
    groups: GroupStatistics


@dataclass(frozen=True, eq=False)
class CombinedAdvantages(Advantages):
    """Advantages of several rewards, and what each looked like."""

    rewards: dict[str, RewardStatistics]


@typed
def combined_advantages(rewards: Mapping[str, Numbers], groups: Numbers, *, weights: Mapping[str, float] | None = None,
                        not_applicable: Mapping[str, float] | None = None, normalize_sum: bool = True,
                        scale: str = "group_std", std: str = "population", epsilon: float = 1e-6, epsilon_rule: str = "floor",
                        not_finite: str = "refuse", baseline: str = "group_mean", min_std: float = 0.0,
                        group_size: int = 0) -> CombinedAdvantages:
    """Advantages of several rewards, each normalised in its groups before they are added (GDPO, arXiv 2601.05242), and their sum
    over the batch; normalize_sum=False: MixGRPO.

    rewards: (N) by name. weights: by name, 1 where there is none; 0 reports alone. not_applicable: by name, the value of a
    sample that the reward says nothing about; one that is not finite stands for all that are not. Other options as for
    group_advantages, of each reward.
    """
    weights, marks = dict(weights or {}), dict(not_applicable or {})
    for name in (*weights, *marks):
        if name not in rewards:
            raise InvalidValueError(f"combined_advantages: no reward {name!r} among {list(rewards)}")
    values = {name: _numbers(reward, name) for name, reward in rewards.items()}
    ids = _group_ids(groups)
    for name, value in values.items():
        if value.shape != ids.shape:
            raise ShapeError(f"combined_advantages: reward {name} has shape {tuple(value.shape)}, groups {tuple(ids.shape)}")
    together = torch.cat([torch.empty(0, dtype=torch.float64, device="cpu"), *values.values()])
    advantages, excluded, numbers, each = ops.combined_advantages(
        together, ids, list(values), [float(weights.get(name, 1)) for name in values],
        [float(marks.get(name, 0)) for name in values], [int(name in marks) for name in values], normalize_sum, scale, std,
        epsilon, epsilon_rule, not_finite, baseline, min_std, group_size)
    found = {name: RewardStatistics(int(row[0]), int(row[1]), *row[2:6], _statistics_of(row[6:]))
             for name, row in zip(values, each.tolist())}
    return CombinedAdvantages(advantages, excluded.tolist(), _statistics_of(numbers.tolist()), found)


class RunningAdvantages:
    """Advantages relative to each prompt's rewards in this batch and before: DDPO, arXiv 2305.13301. The defaults are TRL's.

    window: the last rewards of a prompt that count; 0: all. warm_up: rewards of a prompt, below which its statistics are
    those of the batch. Processes that share prompts gather their rewards first, and all take up the same batch.
    """

    def __init__(self, *, window: int = 32, warm_up: int = 16, std: str = "population", epsilon: float = 1e-6,
                 epsilon_rule: str = "add", not_finite: str = "refuse") -> None:
        self._options = (window, warm_up, std, epsilon, epsilon_rule, not_finite)
        nothing = torch.empty(0, dtype=torch.int64, device="cpu")
        self._state = (window, nothing, nothing, nothing.double())

    @typed
    def take_up(self, rewards: Numbers, prompts: Numbers) -> Advantages:
        """Takes up the rewards of a batch (N) and gives their advantages. prompts: (N) integers."""
        *found, prompts_, counts, numbers = ops.running_advantages(*self._state, _numbers(rewards), _group_ids(prompts),
                                                                   *self._options)
        self._state = (self._options[0], prompts_, counts, numbers)
        return _set_of(*found)

    def state_dict(self) -> dict[str, Tensor | int]:
        """What is known, to go on from later: running_state."""
        return dict(zip(("window", "prompts", "counts", "numbers"), self._state))

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Goes on from a state of the same window. One of another, or that is none, is refused by the next batch."""
        self._state = tuple(state[name] for name in ("window", "prompts", "counts", "numbers"))


@typed
def win_rates(groups: Numbers, preferences: Tensor) -> Tensor:
    """How often each sample is preferred to the others of its group, (N) float64: Pref-GRPO, arXiv 2508.20751.

    preferences: (N, N), entry (i, j) the probability, or 0, 1/2 and 1, that i is preferred to j; those between groups are not
    read.
    """
    ids, table = _group_ids(groups), _numbers(preferences, "preferences")
    if table.shape != (len(ids), len(ids)):
        raise ShapeError(f"win_rates: preferences have shape {tuple(table.shape)}, of {len(ids)} samples")
    return ops.win_rates(ids, table.reshape(-1))


@typed
def win_rates_of_scores(scores: Numbers, groups: Numbers) -> Tensor:
    """Win rates where the higher score wins, and equal ones tie: (N) float64."""
    return ops.win_rates_of_scores(_numbers(scores, "scores"), _group_ids(groups))


@typed
def best_and_worst(scores: "Advantages | Numbers", groups: Numbers | None, count: int) -> tuple[list[int], list[int]]:
    """The count / 2 highest and lowest scores of each group, and the rest, for minibatches' leave_out: (chosen, rest), both
    ascending. groups: None takes all scores together, as DanceGRPO does (arXiv 2505.07818). Excluded samples are in the rest.
    """
    excludes = isinstance(scores, Advantages)
    values = scores.values.clone() if excludes else _numbers(scores, "scores")
    if excludes:
        values[scores.excluded] = float("nan")
    ids = torch.zeros(len(values), dtype=torch.int64, device="cpu") if groups is None else _group_ids(groups)
    chosen, rest = ops.best_and_worst(values, ids, count, excludes)
    return chosen.tolist(), rest.tolist()


@typed
def dead_group_samples(advantages: "Advantages | Numbers", groups: Numbers) -> list[int]:
    """Samples of groups whose advantages are all 0."""
    values = advantages.values if isinstance(advantages, Advantages) else _numbers(advantages, "advantages")
    return ops.dead_group_samples(values, _group_ids(groups)).tolist()
