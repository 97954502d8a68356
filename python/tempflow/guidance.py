# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance: torch expressions, since gradients flow through both predictions."""

import torch

from .errors import ShapeError


def guided(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float, *, preserve_norm: bool = False) -> torch.Tensor:
    """unconditional + scale (conditional - unconditional); with preserve_norm scaled back to the norm that `conditional` has
    along the last dimension.

    Source: Ho and Salimans, arXiv 2207.12598; preserve_norm: diffusers, QwenImagePipeline (true_cfg_scale).
    """
    if conditional.shape != unconditional.shape:
        raise ShapeError(f"guided: conditional is {tuple(conditional.shape)}, unconditional {tuple(unconditional.shape)}")
    v = unconditional + scale * (conditional - unconditional)
    if not preserve_norm:
        return v
    return v * (conditional.norm(dim=-1, keepdim=True) / v.norm(dim=-1, keepdim=True))
