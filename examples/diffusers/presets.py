# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Published numbers, by model: those of the library's presets (include/tempflow/training/presets.hpp).

TempFlow-GRPO: config/dgx.py (geneval_sd3_pr, flux_pr, pickscore_qwenimage_pr) and scripts/train_*_pr.py, the paper's
appendix, and the authors' answers on the noise levels.
"""

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0",
              "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")

LORA_TARGETS = {
    "sd3": _ATTENTION,
    "flux": (*_ATTENTION, "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
    "qwen": (*_ATTENTION, "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
}

PRESETS = {
    "sd3": {"resolution": 512, "evaluation_steps": 40, "guidance": 4.5, "noise_level": 0.7, "kl_beta": 0.004,
            "lora_rank": 32, "lora_alpha": 64, "ema": True, "precision": "fp16", "gradient_checkpointing": False},
    "flux": {"resolution": 1024, "evaluation_steps": 50, "guidance": 3.5, "noise_level": 0.9, "kl_beta": 0.004,
             "lora_rank": 32, "lora_alpha": 64, "ema": True, "precision": "bf16", "gradient_checkpointing": True},
    "qwen": {"resolution": 512, "evaluation_steps": 50, "guidance": 4.0, "noise_level": 1.2, "kl_beta": 0.0,
             "lora_rank": 64, "lora_alpha": 128, "ema": False, "precision": "bf16", "gradient_checkpointing": True},
}

# What --tiny changes, so that a run takes seconds.
TINY = {"resolution": 64, "steps": 6, "trained_steps": 5, "evaluation_steps": 10, "prompts_per_update": 2, "updates": 10,
        "learning_rate": 3e-3, "lora_rank": 8, "lora_alpha": 16, "precision": "fp32", "gradient_checkpointing": False,
        "reward": ("brightness",), "evaluate_every": 5, "checkpoint_every": 5, "ema_interval": 1, "device": "cpu"}
