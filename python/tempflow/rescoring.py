# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Old log-probs as training computes them, how far policies drift apart, and what makes up for it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import steps as _steps
from ._operators import ops
from .advantages import Numbers, _group_ids, _numbers
from .batches import Batch
from .errors import InvalidValueError, typed
from .rollout import Model


@dataclass(frozen=True, eq=False)
class Drift:
    """By how much rescoring changed log-probs: compare it with the clip range. rescore_drift, row by row."""

    changes: torch.Tensor  # (R) float64, new - old
    steps: torch.Tensor  # (R) of the chain

    @property
    def max_abs(self) -> float:
        return float(self.changes.abs().max()) if len(self.changes) else 0.0

    @property
    def mean_abs(self) -> float:
        return float(self.changes.abs().mean()) if len(self.changes) else 0.0

    def by_step(self) -> dict[int, "Drift"]:
        """The drift of each step of the chain that has rows, ascending."""
        return {step: Drift(self.changes[self.steps == step], self.steps[self.steps == step])
                for step in self.steps.unique().tolist()}


@typed
def rescore(model: Model, batches: Iterable[Batch]) -> Drift:
    """Replaces a rollout's log-probs by those of the policy as training evaluates it: on the batches that will be trained on
    (Minibatches, or JointMinibatches, in step with other processes), which have the new ones from then on. Before the first
    update every ratio is then exactly 1. Returns what that changed, of the batches' rows in the rollout's order.

    A rollout in another precision, compiled or in other batches than training has other bits. The model runs in the grad mode
    of the caller, since its kernels may depend on that: call this as you train.

    Raises InvalidValueError for a log-prob that is not finite, naming its row, and for a rollout that stores no successors;
    log-probs are then what they were.
    """
    found = {}  # of each rollout: its log-probs, and which of them are new
    for batch in batches:
        if batch.y is None:
            raise InvalidValueError("rescore: the rollout stores no successors to score again (redraw)")
        v = model(batch.x, batch.sigma, batch.prompts).detach()
        now = _steps.log_prob(batch.x, v, batch.y, batch.transitions, offsets=batch.offsets, mask=batch.mask,
                              reduction=batch.reduction, terms=batch.terms).cpu()
        for row, log_prob in zip(batch.rows[~now.isfinite()].tolist(), now[~now.isfinite()].tolist()):
            raise InvalidValueError(f"rescore: log-prob of row {row} is {log_prob}")
        old = batch.rollout.log_probs
        log_probs, new = found.setdefault(batch.rollout, (old.clone(), torch.zeros_like(old, dtype=torch.bool)))
        log_probs[batch.rows], new[batch.rows] = now, True
    changes = [(log_probs - rollout.log_probs)[new] for rollout, (log_probs, new) in found.items()]
    steps = [rollout.table[new, 2] for rollout, (_, new) in found.items()]
    for rollout, (log_probs, _) in found.items():
        rollout.log_probs = log_probs
    return Drift(torch.cat([torch.empty(0, dtype=torch.float64, device="cpu"), *changes]),
                 torch.cat([torch.empty(0, dtype=torch.int64, device="cpu"), *steps]))


@dataclass(frozen=True)
class StepDrift:
    """How far the policy is from the one that drew the samples, from l = log p - log p_old of rows: step_drift
    (objective/drift.hpp)."""

    rows: int
    non_finite_rows: int  # left out of all else
    max_abs: float  # of l: compare it with the clip range
    mean_abs: float
    k1: float  # estimates of KL(old || new): Schulman, "Approximating KL divergence"
    k2: float
    k3: float
    fraction_below: float
    fraction_above: float
    effective_share: float  # effective sample size over rows: 1 on policy


@typed
def drift_by_step(rows: Tensor, steps: Tensor, count: int) -> tuple[list[StepDrift], StepDrift]:
    """The drift of each step of a chain of `count` steps, and of all, from rows of the loss (R, 9), those of several batches
    and processes put together. steps: (R) int64, batch.rollout.table[batch.rows, 2]."""
    numbers = ops.drift_by_step(rows.detach().cpu(), steps.cpu(), count).tolist()
    *by_step, total = (StepDrift(int(row[0]), int(row[1]), *row[2:]) for row in numbers)
    return by_step, total


@dataclass(frozen=True, eq=False)
class RowCorrections:
    """Weights of rows (R) float64, how many ratios were truncated, and how many rows rejected."""

    weights: Tensor
    truncated: int
    rejected: int


@typed
def corrected_weights(log_ratios: Numbers, *, truncate: float | None = 2.0, keep: tuple[float, float] | None = None,
                      ratios: str = "rows", sequences: Numbers | None = None) -> RowCorrections:
    """Weights for rows of a policy that is not quite the one that is trained: min(e^l, truncate), or 0 where e^l lies outside
    of keep, with l = log p_old - log p_rollout, what `rescore` changed. To multiply batch.weights by, at batch.rows.

        drift = tempflow.rescore(model, batches)
        corrections = tempflow.corrected_weights(drift.changes)
        for batch in batches: batch.weights = batch.weights * corrections.weights[batch.rows]

    ratios: of rows, of sequences (their product) or sequences_mean. sequences: (R) integers, which sequence each row belongs
    to. Source: verl, docs/algo/rollout_corr_math.md.
    """
    low, high = keep if keep is not None else (None, None)
    weights, truncated, rejected = ops.corrected_weights(
        _numbers(log_ratios, "log_ratios"), None if sequences is None else _group_ids(sequences), truncate, low, high, ratios)
    return RowCorrections(weights, truncated, rejected)
