# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The loss with its closed-form gradient, its statistics, EMA."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import _operators
from ._operators import ops
from .errors import InvalidValueError, typed
from .objectives import ClippedGRPO, Objective
from .steps import _leaf_free

if TYPE_CHECKING:
    from .batches import Batch


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


@typed
def policy_loss_rows(v: Tensor, x: Tensor, y: Tensor | None, transitions: Tensor, old_log_probs: Tensor | None,
                     advantages: Tensor, objective: Objective = ClippedGRPO(), *, weights: Tensor | float = 1.0,
                     offsets: Tensor | None = None, mask: Tensor | None = None, v_ref: Tensor | None = None,
                     v_old: Tensor | None = None, reduction: str = "mean", terms: str = "all", mean_over: int = 0,
                     without_zeros: bool = False, drawn: tuple | None = None) -> tuple[Tensor, Tensor]:
    """policy_loss of tensors, which leaves the statistics to the caller: (loss, rows (R, 9)). For torch.compile(fullgraph=True).

    v, x, v_ref, v_old: (S, ...); y: (R, ...), or None with drawn = (ids, key, antithetic): noise drawn again, for objectives
    of the ratio. transitions: (7) or (S, 7). offsets: (S + 1) int64, of siblings; None: one row each. mask: bool or uint8,
    (S, ...) or of one row: elements that are 0 enter nothing and get a gradient of 0. old_log_probs: (R) float64, as `step`
    gave them: in float32 an on-policy ratio would not be 1; None where the objective has no ratio. advantages: (R). weights:
    (R) or one number, none of them negative. mean_over: N of the mean; 0: R.

    On a GPU nothing waits, and loss and rows lie there; transitions, old_log_probs, advantages and weights lie on the CPU,
    where they are checked, or on the GPU, for graphs that are replayed with other ones.
    """
    _leaf_free("policy_loss", x=x, y=y, v_ref=v_ref, v_old=v_old, transitions=transitions, old_log_probs=old_log_probs,
               advantages=advantages, weights=weights)
    count = advantages.shape[0] if old_log_probs is None else old_log_probs.shape[0]
    advantages = advantages.to(torch.float64)
    if isinstance(weights, torch.Tensor):
        weighted = weights.to(torch.float64).expand(count if weights.dim() == 0 else weights.shape)
    else:
        weighted = torch.full((count,), float(weights), dtype=torch.float64, device="cpu")
    ids, key, antithetic = drawn if drawn is not None else (None, (0, 0), False)
    loss, _, rows = _operators.policy_loss(v, x, y, v_ref, v_old, mask, offsets, transitions, old_log_probs, advantages, weighted,
                                           ids, key[0], key[1], antithetic, *objective.parameters(), reduction, terms, mean_over,
                                           without_zeros)
    return loss, rows


def policy_loss(v: Tensor, batch: "Batch", objective: Objective = ClippedGRPO(), *, v_ref: Tensor | None = None,
                v_old: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, PolicyStatistics]:
    """The loss of a batch of states, and its statistics: (loss, PolicyStatistics).

    v: (S, ...), the policy's velocity at batch.x, from one forward pass for all siblings of a state. objective: the clipped
    GRPO loss, or another of objectives.py. v_ref: (S, ...), the reference policy's; needed with kl_beta. v_old: (S, ...), that
    of the policy that drew the rollout, where the objective needs it. mask: bool or uint8, of the elements that count;
    None: the batch's.

        v = model(batch.x, batch.sigma, batch.prompts)
        loss, statistics = tempflow.policy_loss(v, batch, tempflow.ClippedGRPO(clip=1e-4))
        loss.backward()

    The loss is a float64 scalar; losses of the batches of an update add up to a mean over its rows. Differentiable in v
    alone, and once: differentiating its gradient raises InvalidValueError. Source: TempFlow-GRPO, arXiv 2508.04324;
    Flow-GRPO, arXiv 2505.05470, scripts/train_sd3.py; those of the objectives.
    """
    if not isinstance(v, torch.Tensor):
        raise InvalidValueError(f"policy_loss: v is a {type(v).__name__}, expected a tensor")
    loss, rows = policy_loss_rows(
        v, batch.x, batch.y, batch.transitions, batch.old_log_probs, batch.advantages, objective, weights=batch.weights,
        offsets=batch.offsets, mask=batch.mask if mask is None else mask, v_ref=v_ref, v_old=v_old, reduction=batch.reduction, terms=batch.terms,
        mean_over=batch.mean_over, without_zeros=batch.without_zeros, drawn=batch.drawn)
    return loss, statistics_of(rows, kl_beta=objective.kl_beta, mean_over=batch.mean_over)


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
