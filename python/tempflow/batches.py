# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A rollout in batches to train on: each state with all its rows, once."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ._operators import ops
from .advantages import Advantages, Numbers, _numbers
from .errors import InvalidValueError, typed
from .rollout import Rollout
from .steps import Key, _whole


@dataclass(eq=False)
class Batch:
    """S states and the R transitions that leave them, to train on. `completes_update`: step the optimiser after it."""

    x: torch.Tensor  # (S, *shape)
    y: torch.Tensor | None  # (R, *shape); None where successors are drawn again
    sigma: torch.Tensor  # (S) float32
    prompts: torch.Tensor  # (S)
    transitions: torch.Tensor  # (S, 7)
    offsets: torch.Tensor  # (S + 1): rows offsets[s] to offsets[s + 1] leave state s
    old_log_probs: torch.Tensor  # (R)
    advantages: torch.Tensor  # (R)
    weights: torch.Tensor  # (R)
    mean_over: int
    completes_update: bool
    without_zeros: bool
    drawn: tuple | None
    rows: torch.Tensor  # (R) of the rollout
    rollout: Rollout
    reduction: str = "mean"
    terms: str = "all"
    mask: torch.Tensor | None = None  # (*shape): elements that count; None: all


class Minibatches:
    """The batches of a rollout, gathered one at a time; len() of them. What no batch has, counted: skipped_states and
    skipped_rows teach nothing, left_out_states and left_out_rows were not to be trained on. rows: what means count."""

    def __init__(self, rollout: Rollout, tables, updates: int) -> None:
        self.rollout, self.updates = rollout, updates
        pieces, self._states, self._offsets, self._rows, self._advantages, self._weights, left = tables
        self._pieces = pieces.tolist()
        self.skipped_states, self.skipped_rows, self.left_out_states, self.left_out_rows = left.tolist()
        self.rows = rollout.table.shape[0] - self.left_out_rows

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self):
        for piece in self._pieces:
            if self.rollout.plan.redraw and self.rollout.spent:
                raise InvalidValueError("minibatches: a second pass over a rollout that stores no successors: what is drawn again "
                                        "is on policy before the first optimiser step alone")
            self.rollout.spent = self.rollout.spent or bool(piece[3])  # a caller may leave after this batch
            yield self._gather(*piece)

    def _gather(self, first: int, count: int, mean_over: int, last: int) -> Batch:
        rollout, plan = self.rollout, self.rollout.plan
        device = rollout.states.device
        cut = self._offsets[first:first + count + 1]
        of = slice(int(cut[0]), int(cut[-1]))
        rows = self._rows[of]
        table = rollout.table[rows]
        leaving = table[cut[:-1] - cut[0]]  # the first row of each state
        transitions = plan.chain.table[leaving[:, 2]]
        return Batch(x=rollout.states[self._states[first:first + count].to(device)],
                     y=None if plan.redraw else rollout.states[table[:, 1].to(device)],
                     sigma=transitions[:, 3].float().to(device), prompts=leaving[:, 6].to(device), transitions=transitions,
                     offsets=cut - cut[0], old_log_probs=rollout.log_probs[rows], advantages=self._advantages[of],
                     weights=self._weights[of], mean_over=mean_over, completes_update=bool(last),
                     without_zeros=self.skipped_rows > 0,
                     drawn=(table[:, 6:].contiguous(), rollout.key, plan.antithetic) if plan.redraw else None, rows=rows,
                     rollout=rollout, reduction=rollout.reduction, terms=rollout.terms, mask=rollout.mask)


@typed
def minibatches(rollout: Rollout, advantages: Advantages | Numbers, weights: Numbers, *, size: int = 64, updates: int = 1,
                shuffle: Key | None = None, of_rows: bool = False, skip_zeros: bool = False,
                leave_out: Iterable[int] = ()) -> Minibatches:
    """Cuts a rollout into batches of at most `size` states, each state with all its rows, once.

    advantages: one per sample (or Advantages, without what was excluded), or per row with of_rows. weights: one per step of
    the chain (timestep_weights). updates: optimiser steps, each on its share of the initial noises. shuffle: a key, for the
    order. skip_zeros: rows of advantage or weight 0 are in no batch, but count in means; with a KL, to which these rows belong
    too, policy_loss refuses such batches. leave_out: samples (or rows, with of_rows) that are not trained on, nor counted in
    means.
    """
    left_out = _whole("minibatches", "leave_out", leave_out)
    if isinstance(advantages, Advantages):
        advantages, left_out = advantages.values, left_out + advantages.excluded
    plan = rollout.plan
    return Minibatches(rollout, ops.minibatch_tables(
        plan.chain.table, plan.nodes_table, rollout.prompts, plan.redraw, _numbers(advantages, "advantages"),
        _numbers(weights, "weights"), size, updates, None if shuffle is None else list(shuffle), of_rows, skip_zeros,
        left_out), updates)
