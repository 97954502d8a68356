# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Group advantages, the clipped GRPO loss with its closed-form gradient, EMA."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import _operators
from ._operators import ops
from .errors import InvalidValueError, typed
from .steps import _leaf_free

if TYPE_CHECKING:
    from .rollout import Batch

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


@typed
def group_advantages(rewards: Numbers, groups: Numbers, *, scale: str = "group_std", std: str = "population", epsilon: float = 1e-4,
                     epsilon_rule: str = "add", not_finite: str = "refuse", group_size: int = 0) -> Advantages:
    """How much better each sample did than its group: (R - mean of the group) / (std + epsilon).

    rewards: (N). groups: (N) integers, the same for samples of one group, in any order. scale: group_std, global_std or
    none (Dr.GRPO). std: population (Flow-GRPO) or sample (DanceGRPO). not_finite: "refuse" raises for a reward that is not
    finite, "exclude" leaves it out of means and of training. group_size: samples that each group must have.

    Raises GroupError when there is nothing to compare or a group has another size, InvalidValueError for a reward.
    Source: GRPO, arXiv 2402.03300; Flow-GRPO, flow_grpo/stat_tracking.py.
    """
    values, excluded, numbers = ops.group_advantages(_numbers(rewards), _group_ids(groups), scale, std, epsilon, epsilon_rule,
                                                     not_finite, group_size)
    fields = zip(GroupStatistics.__dataclass_fields__.values(), numbers.tolist())
    return Advantages(values, excluded.tolist(), GroupStatistics(*(int(n) if f.type is int else n for f, n in fields)))


@typed
def teaching_nothing(advantages: "Advantages | Numbers", groups: Numbers) -> list[int]:
    """Samples of groups whose advantages are all 0."""
    values = advantages.values if isinstance(advantages, Advantages) else _numbers(advantages, "advantages")
    return ops.teaching_nothing(values, _group_ids(groups)).tolist()


class PolicyStatistics:
    """What a policy update reports; the fields of policy_statistics (objective/policy_statistics.hpp), and each row's own
    numbers (R, 9): log_prob, log_ratio, ratio, surrogate, kl, below, above, finite, underflowed.

    Added up when one is first read, which waits for a GPU."""

    rows: int
    loss: float
    surrogate: float
    kl: float
    approx_kl: float
    ratio_mean: float
    ratio_min: float
    ratio_max: float
    fraction_below: float
    fraction_above: float
    max_abs_log_ratio: float  # exactly 0 for an on-policy batch
    non_finite_rows: int  # left out of the gradient
    underflowed_rows: int
    per_row: torch.Tensor

    def __init__(self, per_row: torch.Tensor, kl_beta: float, mean_over: int) -> None:
        self.per_row = per_row
        self._kl_beta, self._mean_over = kl_beta, float(mean_over or max(per_row.shape[0], 1))

    @typed
    def __getattr__(self, name: str):
        fields = {field: kind for field, kind in type(self).__annotations__.items() if field != "per_row"}
        if name not in fields:
            raise AttributeError(f"PolicyStatistics has no {name}")
        numbers = ops.policy_statistics(self.per_row.cpu(), self._kl_beta, self._mean_over).tolist()
        self.__dict__ |= {field: kind(number) for (field, kind), number in zip(fields.items(), numbers)}
        return self.__dict__[name]

    def __repr__(self) -> str:
        return f"PolicyStatistics({', '.join(f'{name}={getattr(self, name)!r}' for name in list(type(self).__annotations__)[:-1])})"


def statistics_of(rows: torch.Tensor, *, kl_beta: float = 0.0, mean_over: int = 0) -> PolicyStatistics:
    """The statistics of rows, of one batch or of several that were put together (R, 9)."""
    return PolicyStatistics(rows, kl_beta, mean_over)


def _bounds(clip) -> tuple[float, float]:
    bounds = tuple(clip) if isinstance(clip, (tuple, list)) else (clip, clip)
    if len(bounds) != 2:
        raise InvalidValueError(f"policy_loss: clip = {clip}, expected one number or (low, high)")
    return bounds


@typed
def policy_loss_rows(v: Tensor, x: Tensor, y: Tensor | None, transitions: Tensor, old_log_probs: Tensor, advantages: Tensor, *,
                     weights: Tensor | float = 1.0, offsets: Tensor | None = None, v_ref: Tensor | None = None,
                     kl_beta: float = 0.0, clip: float | tuple[float, float] = 1e-4, advantage_clip: float = 5.0,
                     kl_over: str = "transition_variance", reduction: str = "mean", terms: str = "all", mean_over: int = 0,
                     without_zeros: bool = False, drawn: tuple | None = None) -> tuple[Tensor, Tensor]:
    """policy_loss of tensors, which leaves the statistics to the caller: (loss, rows (R, 9)). For torch.compile(fullgraph=True).

    v, x, v_ref: (S, ...); y: (R, ...), or None with drawn = (ids, key, antithetic): noise drawn again. transitions: (7) or
    (S, 7). offsets: (S + 1) int64, of siblings; None: one row each. old_log_probs: (R) float64, as `step` gave them: in
    float32 an on-policy ratio would not be 1. advantages: (R). weights: (R) or one number, none of them negative. mean_over: N
    of the mean; 0: R.

    On a GPU nothing waits, and loss and rows lie there; transitions, old_log_probs, advantages and weights lie on the CPU,
    where they are checked, or on the GPU, for graphs that are replayed with other ones.
    """
    _leaf_free("policy_loss", x=x, y=y, v_ref=v_ref, transitions=transitions, old_log_probs=old_log_probs, advantages=advantages,
               weights=weights)
    low, high = _bounds(clip)
    count = old_log_probs.shape[0]
    advantages = advantages.to(torch.float64)
    if isinstance(weights, torch.Tensor):
        weighted = weights.to(torch.float64).expand(count if weights.dim() == 0 else weights.shape)
    else:
        weighted = torch.full((count,), float(weights), dtype=torch.float64, device="cpu")
    ids, key, antithetic = drawn if drawn is not None else (None, (0, 0), False)
    loss, _, rows = _operators.policy_loss(v, x, y, v_ref, offsets, transitions, old_log_probs, advantages, weighted, ids,
                                           key[0], key[1], antithetic, low, high, advantage_clip, kl_beta, kl_over, reduction,
                                           terms, mean_over, without_zeros)
    return loss, rows


def policy_loss(v: Tensor, batch: "Batch", *, v_ref: Tensor | None = None, kl_beta: float = 0.0,
                clip: float | tuple[float, float] = 1e-4, advantage_clip: float = 5.0,
                kl_over: str = "transition_variance") -> tuple[Tensor, PolicyStatistics]:
    """The clipped GRPO loss of a batch of states, and its statistics: (loss, PolicyStatistics).

    v: (S, ...), the policy's velocity at batch.x, from one forward pass for all siblings of a state. v_ref: (S, ...), the
    reference policy's; needed with kl_beta. clip: of the ratio, one number or (low, high).

        v = model(batch.x, batch.sigma, batch.prompts)
        loss, statistics = tempflow.policy_loss(v, batch, clip=1e-4)
        loss.backward()

    The loss is a float64 scalar; losses of the batches of an update add up to a mean over its rows. Differentiable in v
    alone, and once: differentiating its gradient raises InvalidValueError. Source: TempFlow-GRPO, arXiv 2508.04324; Flow-GRPO, arXiv 2505.05470, scripts/train_sd3.py.
    """
    if not isinstance(v, torch.Tensor):
        raise InvalidValueError(f"policy_loss: v is a {type(v).__name__}, expected a tensor")
    loss, rows = policy_loss_rows(
        v, batch.x, batch.y, batch.transitions, batch.old_log_probs, batch.advantages, weights=batch.weights,
        offsets=batch.offsets, v_ref=v_ref, kl_beta=kl_beta, clip=clip, advantage_clip=advantage_clip, kl_over=kl_over,
        reduction=batch.reduction, terms=batch.terms, mean_over=batch.mean_over, without_zeros=batch.without_zeros,
        drawn=batch.drawn)
    return loss, statistics_of(rows, kl_beta=kl_beta, mean_over=batch.mean_over)


@typed
def ema_decay(n: int, *, decay: float = 0.9, interval: int = 8) -> float | None:
    """The decay to apply after optimiser step n = 0, 1, ...; None where the average stays."""
    value = ops.ema_decay(decay, interval, n)
    return None if value != value else value


@torch.no_grad()
@typed
def ema_update(averages: Iterable[Tensor], weights: Iterable[Tensor], decay: float) -> None:
    """average = decay average + (1 - decay) weights, in place, for each pair of tensors of two lists, alike in shape."""
    averages, weights = list(averages), list(weights)
    if len(averages) != len(weights):
        raise InvalidValueError(f"ema_update: {len(averages)} averages, {len(weights)} weights")
    for average, weight in zip(averages, weights):
        ops.ema_update(average.detach(), weight.detach().to(average.dtype), decay)
        if not torch.compiler.is_compiling() and not average.is_inference():
            torch.autograd.graph.increment_version(average)  # for graphs that have saved it
