# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A loss in two calls: sums of each row, from which factors are made, and the gradient from those. For losses of which a
row depends on others (SequenceGRPO, PreferencePairs), and for rows whose elements lie on several devices, whose sums are
added up between the calls:

    sums = tempflow.policy_sums(v, x, y, transitions, v_ref=v_ref)                     # and those of other devices added
    rows, factors = tempflow.policy_scores(sums, transitions, None, None, tempflow.PreferencePairs(), pairs=pairs)
    gradient = tempflow.policy_gradient(v, x, y, transitions, factors, v_ref=v_ref)
    v.backward(gradient)
    loss = tempflow.statistics_of(rows).loss

On one device these are the bits of policy_loss for objectives of means; those of the ratio have kernels of their own there,
and their gradients agree to rounding.
"""

import torch
from torch import Tensor

from ._operators import ops
from .errors import typed
from .objectives import ClippedGRPO, Objective
from .steps import _leaf_free


def _host(numbers: Tensor | None, dtype: torch.dtype = torch.float64) -> Tensor | None:
    return None if numbers is None else numbers.detach().to("cpu", dtype)


@typed
def policy_sums(v: Tensor, x: Tensor, y: Tensor, transitions: Tensor, *, offsets: Tensor | None = None,
                mask: Tensor | None = None, v_ref: Tensor | None = None, v_old: Tensor | None = None,
                mixture: float = 0.0) -> Tensor:
    """Sums of each row, (R, 8) float64 where v lies: elements, r^2, (v - v_ref)^2, r (v - v_ref), (v - v_old)^2,
    r (v - v_old), and |r| at v_old + mixture (v - v_old) and at v_old - mixture (v - v_old), with r = y - alpha x - beta v.
    NaN are those of a velocity that is not given, and the last two without a mixture. mixture: DiffusionNFT's. Other arguments as for policy_loss_rows.

    No gradient flows through them: that is policy_gradient's part.
    """
    _leaf_free("policy_sums", x=x, y=y, v_ref=v_ref, v_old=v_old, transitions=transitions)
    return ops.policy_sums(v.detach(), x, y, v_ref, v_old, mask, offsets, transitions, mixture)


@typed
def policy_scores(sums: Tensor, transitions: Tensor, old_log_probs: Tensor | None, advantages: Tensor | None,
                  objective: Objective = ClippedGRPO(), *, weights: Tensor | float = 1.0, offsets: Tensor | None = None,
                  sequences: Tensor | None = None, pairs: Tensor | None = None,
                  reduction: str = "mean", terms: str = "all", mean_over: int = 0) -> tuple[Tensor, Tensor]:
    """What an objective makes of sums (R, 8), on the CPU: rows (R, 9), for statistics_of, and factors (R, 3).

    objective: any. sequences: (R) int64, the sample of each row, for SequenceGRPO. pairs: (R / 2, 2) int64, rows better and
    worse, for PreferencePairs. The KL is reported where the sums are of a v_ref. Other arguments as for
    policy_loss_rows.
    """
    _leaf_free("policy_scores", sums=sums, old_log_probs=old_log_probs, advantages=advantages, weights=weights)
    count = sums.shape[0]
    weighted = torch.as_tensor(weights, dtype=torch.float64, device="cpu")
    weighted = weighted.expand(count if weighted.dim() == 0 else weighted.shape).contiguous()
    return ops.policy_scores(_host(sums), _host(transitions), offsets, _host(old_log_probs), _host(advantages), weighted,
                             _host(sequences, torch.int64), _host(pairs, torch.int64), *objective.parameters(),
                             reduction, terms, mean_over)


@typed
def policy_gradient(v: Tensor, x: Tensor, y: Tensor, transitions: Tensor, factors: Tensor, *, offsets: Tensor | None = None,
                    mask: Tensor | None = None, v_ref: Tensor | None = None, v_old: Tensor | None = None) -> Tensor:
    """dL/dv of factors (R, 3): for each state the sum over its rows of f0 r + f1 (v - v_ref) + f2 (v - v_old). Like v, but
    float32 for float16. Other arguments as for policy_loss_rows."""
    _leaf_free("policy_gradient", x=x, y=y, v_ref=v_ref, v_old=v_old, transitions=transitions, factors=factors)
    return ops.policy_gradient(v.detach(), x, y, v_ref, v_old, mask, offsets, transitions, factors)
