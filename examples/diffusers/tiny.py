# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Small random models: the transformers' own classes, random text embeddings, a linear decoder."""

import zlib
from types import SimpleNamespace

import torch
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel, SD3Transformer2DModel

_CHANNELS, _TEXT_TOKENS, _TEXT_WIDTH = 4, 4, 32
_SIZE = {"num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 3, "joint_attention_dim": _TEXT_WIDTH}

TRANSFORMERS = {
    "sd3": lambda: SD3Transformer2DModel(sample_size=8, in_channels=_CHANNELS, out_channels=_CHANNELS, pos_embed_max_size=32,
                                         caption_projection_dim=48, pooled_projection_dim=_TEXT_WIDTH, qk_norm="rms_norm",
                                         dual_attention_layers=(0,), **_SIZE),
    "flux": lambda: FluxTransformer2DModel(in_channels=4 * _CHANNELS, num_single_layers=1, guidance_embeds=True,
                                           pooled_projection_dim=_TEXT_WIDTH, axes_dims_rope=(4, 6, 6), **_SIZE),
    "qwen": lambda: QwenImageTransformer2DModel(in_channels=4 * _CHANNELS, out_channels=_CHANNELS, axes_dims_rope=(4, 6, 6),
                                                **_SIZE),
}


def encode(texts: list[str]) -> dict:
    """Embeddings that depend on the text alone."""
    rows = []
    for text in texts:
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        rows.append(torch.randn(_TEXT_TOKENS + 1, _TEXT_WIDTH, generator=generator))
    rows = torch.stack(rows)
    mask = torch.ones(len(texts), _TEXT_TOKENS, dtype=torch.bool)
    mask[1::2, -1] = False  # as if every other text were shorter
    return {"embeddings": rows[:, :-1], "pooled": rows[:, -1], "mask": mask}


class LinearDecoder(torch.nn.Module):
    """A fixed mix of latent channels to RGB, 8 x 8 pixels a latent pixel, with the interface of diffusers' VAEs."""

    def __init__(self) -> None:
        super().__init__()
        mix = torch.randn(3, _CHANNELS, generator=torch.Generator().manual_seed(0)) * 0.3
        self.register_buffer("mix", mix)
        self.dtype = torch.float32
        self.config = SimpleNamespace(scaling_factor=1.0, shift_factor=0.0, latents_mean=[0.0] * _CHANNELS,
                                      latents_std=[1.0] * _CHANNELS)

    def decode(self, latents, return_dict: bool = False):
        pixels = torch.einsum("rc,nc...->nr...", self.mix, latents)
        return (pixels.repeat_interleave(8, -1).repeat_interleave(8, -2),)


def build(model: str):
    """(transformer, decoder, encode) of random weights."""
    return TRANSFORMERS[model](), LinearDecoder(), encode
