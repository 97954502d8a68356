# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of a run by model: those that the library has published ones for (tempflow.preset), and the trainer's own."""

import math

import tempflow

_NAMES = {"sd3": "sd3_5_medium", "flux": "flux_1_dev", "qwen": "qwen_image"}

# Options and the fields of a preset that they are.
_FIELDS = {name: name for name in (
    "trained_steps", "evaluation_steps", "guidance", "noise_level", "explorations", "seeds_per_prompt", "clip",
    "advantage_clip", "advantage_epsilon", "advantage_scale", "kl_beta", "learning_rate", "adam_beta1", "adam_beta2",
    "adam_epsilon", "weight_decay", "max_gradient_norm", "lora_rank", "lora_alpha", "ema_decay", "ema_interval")}
_FIELDS |= {"steps": "rollout_steps", "prompts_per_update": "groups", "ema": "use_ema"}

# Not in the presets. TempFlow-GRPO, scripts/train_*_pr.py and config/dgx.py.
_OWN = {"sd3": {"precision": "fp16", "gradient_checkpointing": False},
        "flux": {"precision": "bf16", "gradient_checkpointing": True},
        "qwen": {"precision": "bf16", "gradient_checkpointing": True}}

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
              "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")

LORA_TARGETS = {
    "sd3": _ATTENTION,
    "flux": (*_ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    "qwen": (*_ATTENTION, "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
}


def _preset(model: str) -> dict:
    published = tempflow.preset(_NAMES[model])
    side = 16 * math.isqrt(published.image_tokens)  # a token is 2 x 2 latent pixels, each 8 x 8 pixels
    return {name: getattr(published, field) for name, field in _FIELDS.items()} | {"resolution": side} | _OWN[model]


PRESETS = {model: _preset(model) for model in _NAMES}

# What --tiny changes, so that a run takes seconds.
TINY = {"resolution": 64, "steps": 6, "trained_steps": 5, "evaluation_steps": 10, "prompts_per_update": 2, "updates": 10,
        "learning_rate": 3e-3, "lora_rank": 8, "lora_alpha": 16, "precision": "fp32", "gradient_checkpointing": False,
        "reward": ("brightness",), "evaluate_every": 5, "checkpoint_every": 5, "ema_interval": 1, "device": "cpu"}
