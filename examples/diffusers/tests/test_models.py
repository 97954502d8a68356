# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The three models against diffusers' own pipelines: the same latents from the same noise, to rounding."""

import diffusers
import pytest
import tiny
import torch
from models import MODELS
from command_line import read_options
from prompts import Prompt

import tempflow

STEPS, SIDE = 5, 64
SCHEDULERS = {  # as published with the weights
    "sd3": {"shift": 3.0},
    "flux": {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
             "max_image_seq_len": 4096},
    "qwen": {"shift": 1.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
             "max_image_seq_len": 8192, "shift_terminal": 0.02, "time_shift_type": "exponential"},
}
PIPELINES = {"sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline", "qwen": "QwenImagePipeline"}


@pytest.fixture(params=MODELS)
def built(request):
    """(name, options, model), prepared for two prompts."""
    options = read_options(["--tiny", "--model", request.param, "--output", "unused"])
    torch.manual_seed(3)
    model = MODELS[request.param](*tiny.build(request.param), options, torch.device("cpu"))
    model.prepare([Prompt(4, "a cat"), Prompt(9, "a dog in the rain")])
    return request.param, options, model


def by_pipeline(name, options, model, noise):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULERS[name])
    absent = ["vae", "text_encoder", "tokenizer"]
    absent += ["text_encoder_2", "tokenizer_2"] if name != "qwen" else []
    absent += ["text_encoder_3", "tokenizer_3"] if name == "sd3" else []
    pipeline = getattr(diffusers, PIPELINES[name])(transformer=model.transformer, scheduler=scheduler,
                                                   **dict.fromkeys(absent))
    pipeline.set_progress_bar_config(disable=True)
    negative, positive = ({k: v[rows] for k, v in model.conditions.items()} for rows in ([0, 0], [1, 2]))
    common = {"latents": noise, "height": SIDE, "width": SIDE, "num_inference_steps": STEPS, "output_type": "latent",
              "prompt_embeds": positive["embeddings"]}
    if name == "qwen":
        return pipeline(prompt_embeds_mask=positive["mask"], negative_prompt_embeds=negative["embeddings"],
                        negative_prompt_embeds_mask=negative["mask"], true_cfg_scale=options.guidance, **common).images
    if name == "sd3":
        common |= {"negative_prompt_embeds": negative["embeddings"], "negative_pooled_prompt_embeds": negative["pooled"]}
    return pipeline(pooled_prompt_embeds=positive["pooled"], guidance_scale=options.guidance, **common).images


def test_sampling_is_the_pipelines(built):
    name, options, model = built
    tokens = {} if name == "sd3" else {"image_tokens": model.tokens}
    chain = tempflow.make_chain(tempflow.sigmas(model.sigmas_of, STEPS, **tokens), "ode")
    x, noise = (tempflow.sample(velocity, chain, [4, 9], (1, 2), shape=model.shape)
                for velocity in (model, lambda x, sigma, prompts: x * 0))
    expected = by_pipeline(name, options, model, noise.clone())
    assert (x - noise).abs().max() > 0.1
    torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-3)


def test_packing_is_the_pipelines(built):
    name, _, model = built
    samples = torch.randn(3, *model.shape)
    images = model.images(samples)
    assert images.shape == (3, SIDE, SIDE, 3) and images.dtype == "uint8"
    if name != "sd3":
        unpack = getattr(diffusers, PIPELINES[name])._unpack_latents
        assert torch.equal(model.unpacked(samples), unpack(samples, SIDE, SIDE, 8).reshape(3, 4, 8, 8))


def test_a_prompt_keeps_its_embedding_whatever_the_batch(built):
    _, _, model = built
    x, sigma = torch.randn(1, *model.shape).expand(2, *model.shape), torch.tensor([0.5, 0.5])
    with torch.no_grad():
        v = model(x, sigma, torch.tensor([9, 4]))
        torch.testing.assert_close(v.flip(0), model(x, sigma, torch.tensor([4, 9])))
    assert (v[0] - v[1]).abs().max() > 1e-4


def test_training_under_autocast(built):
    name, _, _ = built
    options = read_options(["--tiny", "--model", name, "--output", "unused", "--precision", "bf16"])
    model = MODELS[name](*tiny.build(name), options, torch.device("cpu"))
    model.prepare([Prompt(0, "a cat")])
    v = model(torch.randn(2, *model.shape), torch.tensor([0.5, 0.25]), torch.tensor([0, 0]))
    v.float().square().mean().backward()
    assert v.isfinite().all() and any(p.grad is not None and p.grad.abs().max() > 0 for p in model.transformer.parameters())
