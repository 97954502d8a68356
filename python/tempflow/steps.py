# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""One step of a chain for a batch: x and v are (B, ...), and a row is all that follows the first dimension.

Noise has an identity: `key` is (seed, update) of the run, and a row's id (prompt, seed, step, branch). The same key and
id draw the same noise in every call, on any thread, in any batch. `ids` is an int64 tensor (B, 4).

`transitions` is (7), one row of a chain's table for all rows, or (B, 7). Log-probs are float64, in the field's convention:
the mean over the elements of a row (`reduction="sum"` for the log-density of the whole row).

On a GPU nothing waits: x, v and y are CUDA tensors, ids and transitions lie on the CPU and are checked, log-probs come back
on the GPU. Noise and states have the CPU's bits.
"""

import operator

from collections.abc import Sequence

import torch
from torch import Tensor

from ._operators import ops
from .errors import InvalidValueError, ShapeError, typed

Key = tuple[int, int]


def _leaf_free(operation: str, **tensors) -> None:
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad and torch.is_grad_enabled():
            raise InvalidValueError(f"{operation}: {name} requires grad and would get none; detach it, or call under torch.no_grad()")


def _whole(operation: str, name: str, values) -> list[int]:
    """Ids and counts: a fraction would be cut off."""
    try:
        return [operator.index(value) for value in values]
    except TypeError:
        raise InvalidValueError(f"{operation}: {name} = {values}, expected whole numbers") from None


@typed
def noise(ids: Tensor, shape: Sequence[int], key: Key, *, dtype: torch.dtype = torch.float32,
          device: torch.device | str = "cpu", antithetic: bool = False, first_element: int = 0) -> Tensor:
    """Standard normals by identity, (B, *shape): a trajectory's start, or a step's noise drawn again.

    first_element: where in the whole rows these begin, a multiple of 4: shards of a row then have the noise of the whole."""
    if min(shape, default=0) < 0:
        raise ShapeError(f"noise: a sample of shape {tuple(shape)}")
    out = torch.empty((ids.shape[0], *shape), dtype=dtype, device=device)
    ops.fill_noise(out, ids, key[0], key[1], antithetic, first_element)
    return out


@typed
def step(x: Tensor, v: Tensor, transitions: Tensor, ids: Tensor, key: Key, *, antithetic: bool = False,
         first_element: int = 0, mask: Tensor | None = None, with_log_prob: bool = True, reduction: str = "mean",
         terms: str = "all") -> tuple[Tensor, Tensor | None]:
    """y = alpha x + beta v + std z and its log-prob: (y, log_prob). y like x; log_prob (B) float64.

    v has the dtype of x, or is bfloat16 or float16 beside float32 states (autocast). The results need no gradient.
    mask: bool or uint8, like x or like one row: what is 0 stays as x has it, and does not count in log-probs.
    first_element: as for noise.
    """
    _leaf_free("step", x=x, v=v, transitions=transitions)
    y, log_prob = ops.step(x, v, transitions, ids, key[0], key[1], antithetic, first_element, mask, with_log_prob, reduction,
                           terms)
    return y, log_prob if with_log_prob else None


@typed
def noised(samples: Tensor, sigmas, ids: Tensor, key: Key, *, antithetic: bool = False, first_element: int = 0) -> Tensor:
    """Finished samples noised again: x_t = (1 - t) x0 + t z for noise levels t (B), with the noise of ids (B, 4) and key.

        x = tempflow.noised(x0, t, ids, key)
        loss, _ = tempflow.policy_loss_rows(model(x, t, prompts), x, x0, tempflow.clean_transitions(t), None, advantages,
                                            tempflow.DiffusionNFT(), v_old=v_old, v_ref=v_ref)
    """
    _leaf_free("noised", samples=samples)
    table = ops.noising_transitions(torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").detach().contiguous())
    return ops.step(samples, samples, table, ids, key[0], key[1], antithetic, first_element, None, False, "mean", "all")[0]


@typed
def ode_step(x: Tensor, v: Tensor, transitions: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """y = alpha x + beta v: the deterministic step. mask: as for step."""
    _leaf_free("ode_step", x=x, v=v, transitions=transitions)
    return ops.ode_step(x, v, transitions, mask)


@typed
def branch_step(x: Tensor, v: Tensor, branch_transitions: Tensor, ids: Tensor, key: Key, explorations: int, *,
                trunk_transitions: Tensor | None = None, antithetic: bool = False, first_element: int = 0,
                mask: Tensor | None = None, reduction: str = "mean", terms: str = "all") -> tuple[Tensor | None, Tensor, Tensor]:
    """TempFlow-GRPO's step: K = explorations stochastic successors of each row, and with `trunk_transitions` the ODE's.

    Returns (trunk, branches, log_probs): trunk like x, or None; branches (B K, ...), those of row i from i K on, drawn
    with the row's id and branches branch + 0, ..., branch + K - 1; log_probs (B K) float64. The bits are those of
    `ode_step` and K times `step`. mask, first_element: as for step.
    """
    _leaf_free("branch_step", x=x, v=v, branch_transitions=branch_transitions, trunk_transitions=trunk_transitions)
    trunk, branches, log_probs = ops.branch_step(x, v, trunk_transitions, branch_transitions, ids, explorations, key[0],
                                                 key[1], antithetic, first_element, mask, reduction, terms)
    return (trunk if trunk_transitions is not None else None), branches, log_probs


@typed
def log_prob(x: Tensor, v: Tensor, y: Tensor, transitions: Tensor, *, offsets: Tensor | None = None, mask: Tensor | None = None,
             reduction: str = "mean", terms: str = "all") -> Tensor:
    """log p(y | x, v) of each row of y, float64, with the bits that `step` gave. Differentiable in v alone, and once.

    With `offsets` (S + 1, int64) x and v are S states, and rows offsets[s] to offsets[s + 1] of y leave state s: siblings
    share one velocity. mask: bool or uint8, like x or like one row: elements that count.
    """
    _leaf_free("log_prob", x=x, y=y, transitions=transitions)
    return ops.log_prob(x, v, y, mask, offsets, transitions, reduction, terms)
