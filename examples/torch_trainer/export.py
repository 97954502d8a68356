# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Traces a transformer of diffusers, with LoRA by peft, for the C++ trainer:  python export.py tiny.pt

In the file: the module, whose LoRA tensors alone require grad, and as its attributes the prompts' embeddings, a row each
(`text`, `pooled`, and for guidance `no_text`, `no_pooled`), and `sample`, which has a sample's shape. Here all is small and
random; README.md says what to change.
"""

import sys
import warnings

import torch
from diffusers import SD3Transformer2DModel
from peft import LoraConfig

CHANNELS, SIDE, WIDTH, PROMPTS = 4, 8, 32, 2


def transformer() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=SIDE, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=2, attention_head_dim=16,
        num_attention_heads=3, joint_attention_dim=WIDTH, caption_projection_dim=48, pooled_projection_dim=WIDTH,
        pos_embed_max_size=32, qk_norm="rms_norm", dual_attention_layers=(0,)).eval()


def transformer_with_lora() -> SD3Transformer2DModel:
    model = transformer()
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights="gaussian", target_modules=[
        "attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
        "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"]))
    return model.eval()


class Velocity(torch.nn.Module):
    """v(x, t, text, pooled), with tensors only."""

    def __init__(self, transformer) -> None:
        super().__init__()
        self.transformer = transformer
        for name, shape in (("text", (PROMPTS, 4, WIDTH)), ("pooled", (PROMPTS, WIDTH)),
                            ("no_text", (1, 4, WIDTH)), ("no_pooled", (1, WIDTH))):
            self.register_buffer(name, torch.randn(shape))  # of your text encoders
        self.register_buffer("sample", torch.zeros(CHANNELS, SIDE, SIDE))

    def forward(self, x, t, text, pooled):
        return self.transformer(x, timestep=t, encoder_hidden_states=text, pooled_projections=pooled, return_dict=False)[0]


def inputs(batch: int) -> tuple:
    return (torch.randn(batch, CHANNELS, SIDE, SIDE), 1000 * torch.rand(batch), torch.randn(batch, 4, WIDTH),
            torch.randn(batch, WIDTH))


def main(path: str) -> None:
    torch.manual_seed(0)
    model = Velocity(transformer_with_lora())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and takes sizes for constants: hence the check below
        traced = torch.jit.trace(model, inputs(2), check_trace=False)
    others = inputs(5)  # not the batch of the trace
    torch.testing.assert_close(traced(*others), model(*others))
    traced.save(path)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"{path}: {sum(p.numel() for p in model.parameters()):,} parameters, {trained:,} of them LoRA's")


if __name__ == "__main__":
    main(*sys.argv[1:])
