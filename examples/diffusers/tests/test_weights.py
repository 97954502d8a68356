# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""--model-path: pipelines that were saved to a folder are loaded, sample the pipelines' images, and train."""

from contextlib import nullcontext
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
import weights
from command_line import read_options
from conftest import log_of, succeed
from evaluation import KEY, sample
from models import MODELS
from prompts import Prompt
from small_pipelines import small_pipeline
from test_models import SCHEDULERS

import tempflow

SIZE = {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 32}
TRANSFORMERS = {
    "sd3": lambda: diffusers.SD3Transformer2DModel(sample_size=8, in_channels=4, out_channels=4, pos_embed_max_size=32,
                                                   caption_projection_dim=32, pooled_projection_dim=32, **SIZE),
    "flux": lambda: diffusers.FluxTransformer2DModel(in_channels=16, num_single_layers=1, pooled_projection_dim=16,
                                                     guidance_embeds=True, axes_dims_rope=(4, 6, 6), **SIZE),
    "qwen": lambda: diffusers.QwenImageTransformer2DModel(in_channels=16, out_channels=4, axes_dims_rope=(4, 6, 6), **SIZE),
}
STEPS, TEXTS = 4, ["a cat", "a dog in the rain"]


@pytest.fixture(params=MODELS)
def saved(request, tmp_path):
    """(name, folder) of a saved pipeline."""
    torch.manual_seed(1)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULERS[request.param])
    small_pipeline(request.param, TRANSFORMERS[request.param](), scheduler).save_pretrained(tmp_path / "weights")
    return request.param, tmp_path / "weights"


def test_images_are_the_pipelines(saved):
    name, folder = saved
    weights.check_folder(name, str(folder))
    options = read_options(["--model", name, "--model-path", str(folder), "--prompts", "none", "--resolution", "64",
                            "--evaluation-steps", str(STEPS), "--precision", "fp32", "--output", "none"])
    device = torch.device("cpu")
    model = MODELS[name](*weights.load(name, str(folder), "fp32", device), options, device)
    prompts = [Prompt(i, text) for i, text in enumerate(TEXTS)]
    model.prepare(prompts)
    tokens = {} if name == "sd3" else {"image_tokens": model.tokens}
    chain = tempflow.make_chain(tempflow.sigmas(model.sigmas_of, STEPS, **tokens), "ode")
    policy = SimpleNamespace(averaged=nullcontext)
    trainer = SimpleNamespace(model=model, options=options, policy=policy, evaluation_chain=chain, velocity=model)
    images = model.images(sample(trainer, prompts))

    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = tempflow.sample(lambda x, sigma, prompts: x * 0, chain, [0, 1], KEY, shape=model.shape)  # goes nowhere
    lengths = {"sd3": 128, "flux": 128, "qwen": 256}
    guidance = ({"negative_prompt": [" "] * 2, "true_cfg_scale": 4.0} if name == "qwen" else
                {"guidance_scale": options.guidance})
    expected = pipeline(TEXTS, latents=noise, height=64, width=64, num_inference_steps=STEPS, output_type="np",
                        max_sequence_length=lengths[name], **guidance).images
    assert np.abs(images / 255 - expected).max() < 2 / 255
    assert np.abs(expected[0] - expected[1]).max() > 10 / 255


def test_a_saved_pipeline_trains(saved, tmp_path):
    name, folder = saved
    (tmp_path / "prompts.txt").write_text("\n".join(TEXTS))
    succeed("--model", name, "--model-path", folder, "--prompts", tmp_path / "prompts.txt", "--resolution", "64",
            "--steps", "4", "--trained-steps", "3", "--prompts-per-update", "2", "--seeds-per-prompt", "1",
            "--explorations", "3",
            "--updates", "1", "--precision", "bf16", "--device", "cpu", "--output", tmp_path / "run", tiny=False)
    (row,) = log_of(tmp_path / "run")
    assert int(row["samples"]) == 18 and float(row["gradient_norm"]) > 0 and float(row["drift"]) < 1e-6
