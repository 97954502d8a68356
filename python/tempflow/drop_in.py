# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Two functions that every trainer of the field has a copy of, with the signature and results of Flow-GRPO's."""

import torch

from . import steps as _steps
from ._operators import ops
from .errors import InvalidValueError, ShapeError, typed
from .schedule import make_chain
from .steps import _leaf_free


@typed
def sde_step_with_logprob(scheduler, model_output, timestep, sample, noise_level: float = 0.7, prev_sample=None,
                          generator=None, *, noise_seed: int | None = None):
    """One step of Flow-GRPO's SDE: (prev_sample, log_prob, prev_sample_mean, std_dev_t), as its sde_step_with_logprob.

    scheduler: a diffusers FlowMatchEulerDiscreteScheduler after set_timesteps. timestep: (B), of its timesteps. With
    prev_sample its log-prob is taken and nothing is drawn. Without, noise comes from noise_seed, or from torch's generator
    where it is None (a `generator`, or the default one). Gradients flow to model_output from log_prob and from
    prev_sample_mean (of which the KL is made); prev_sample has none. log_prob is float32 (B); std_dev_t is the diffusion
    coefficient, without the root of the step, as published. noise_level 0 is the ODE's step, whose log_prob is NaN, as
    published.

    Source: flow_grpo/diffusers_patch/sd3_sde_with_logprob.py.
    """
    _leaf_free("sde_step_with_logprob", sample=sample)
    if prev_sample is not None and generator is not None:
        raise InvalidValueError("sde_step_with_logprob: a generator beside prev_sample, with which nothing is drawn")
    if isinstance(generator, (list, tuple)):
        raise InvalidValueError(f"sde_step_with_logprob: {len(generator)} generators, expected one for all rows, or noise_seed")
    if model_output.shape != sample.shape:
        raise ShapeError(f"sde_step_with_logprob: model_output has shape {tuple(model_output.shape)}, sample {tuple(sample.shape)}")
    times = torch.as_tensor(timestep, device="cpu").reshape(-1)
    if len(times) not in (1, sample.shape[0]):
        raise ShapeError(f"sde_step_with_logprob: {len(times)} timesteps for {sample.shape[0]} rows")
    steps = [scheduler.index_for_timestep(t) for t in times]
    chain = make_chain(scheduler.sigmas, "flow_sde", noise_level, sorted(set(steps)))  # others may not suit the noise level
    at = torch.tensor(steps * (sample.shape[0] if len(steps) == 1 else 1), device="cpu")
    transitions = chain.table[at]
    sample = sample.float()  # as published: states in bf16 lose the step
    velocity = model_output if model_output.dtype in (torch.float32, torch.bfloat16, torch.float16) else model_output.float()
    alpha, beta, std_dev_t = (transitions[:, i].float().reshape(-1, *[1] * (sample.dim() - 1)).to(sample.device)
                              for i in (0, 1, 6))
    mean = alpha * sample + beta * velocity.float()
    if prev_sample is None:
        if noise_seed is None:
            noise_seed = int(torch.randint(0, 2**31, (1,), generator=generator, device=generator.device if generator else "cpu"))
        rows, zeros = torch.arange(len(at), device="cpu"), torch.zeros_like(at)
        ids = torch.stack([zeros, rows, at, zeros], 1)
        prev_sample, _ = _steps.step(sample, velocity.detach(), transitions, ids, (noise_seed, 0), with_log_prob=False)
    if noise_level == 0:
        log_prob = mean.flatten(1).mean(1) * float("nan")
    else:
        log_prob = _steps.log_prob(sample, velocity, prev_sample.detach().float(), transitions)
    return prev_sample, log_prob.float(), mean, std_dev_t


@typed
def clipped_loss(log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantages: torch.Tensor, clip_range: float = 1e-4,
                 adv_clip_max: float = 5.0, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Flow-GRPO's clipped policy loss, the mean over the rows of a batch, of log-probs that are at hand; gradients flow to
    log_prob. All are (B), and weights not negative.

    With velocities in place of log-probs `policy_loss` is one operator, and its gradient needs no graph.
    Source: flow_grpo, scripts/train_sd3.py.
    """
    _leaf_free("clipped_loss", old_log_prob=old_log_prob, advantages=advantages, weights=weights)
    weights = torch.ones_like(log_prob, requires_grad=False) if weights is None else weights
    on_host = [values.to("cpu", torch.float64) for values in (log_prob, old_log_prob, advantages, weights)]
    losses, _ = ops.clipped_surrogate(*on_host, clip_range, clip_range, adv_clip_max)
    return losses.mean().to(log_prob.device)
