# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance, differentiable in both predictions."""

import torch
from torch import Tensor

from ._operators import ops
from .errors import ShapeError, typed
from .steps import _leaf_free


@typed
def guided(conditional: Tensor, unconditional: Tensor, scale: float | Tensor, *, preserve_norm: bool = False) -> Tensor:
    """unconditional + scale (conditional - unconditional); with preserve_norm scaled back to the norm that `conditional` has
    along the last dimension. In float32 at least, rounded once to the dtype of the predictions.

    conditional, unconditional: (B, ...), alike; a vector is one row. scale: one number, or (B) of them. Where a norm is 0 the result is 0, and so is
    its gradient. Differentiable once.

    Source: Ho and Salimans, arXiv 2207.12598; preserve_norm: diffusers, QwenImagePipeline (true_cfg_scale).
    """
    if conditional.shape != unconditional.shape:
        raise ShapeError(f"guided: conditional is {tuple(conditional.shape)}, unconditional {tuple(unconditional.shape)}")
    _leaf_free("guided", scale=scale)
    dtype = torch.promote_types(conditional.dtype, unconditional.dtype)
    c, u = conditional.to(dtype), unconditional.to(dtype)
    if c.dim() < 2:  # one row
        c, u = c.reshape(1, -1), u.reshape(1, -1)
    if not isinstance(scale, torch.Tensor):
        scale = torch.full((1,), float(scale), dtype=torch.float64, device="cpu")
    elif scale.numel() != 1 and scale.shape != c.shape[:1]:
        raise ShapeError(f"guided: scale is {tuple(scale.shape)}, expected one number, or one for each row of {tuple(c.shape)}")
    v = ops.guide(c, u, scale.to(torch.float64).reshape(-1), c.shape[-1] if preserve_norm else 0)
    return v if v.shape == conditional.shape else v.reshape(conditional.shape)
