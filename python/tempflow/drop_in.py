# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Two functions that every trainer of the field has a copy of, with the signature and results of Flow-GRPO's."""

import torch

from . import steps as _steps
from ._operators import ops
from .errors import InvalidValueError, typed
from .schedule import make_chain
from .steps import _leaf_free


@typed
def sde_step_with_logprob(scheduler, model_output, timestep, sample, noise_level: float = 0.7, prev_sample=None,
                          generator=None, *, noise_seed: int | None = None):
    """One step of Flow-GRPO's SDE: (prev_sample, log_prob, prev_sample_mean, std_dev_t), as its sde_step_with_logprob.

    scheduler: a diffusers FlowMatchEulerDiscreteScheduler after set_timesteps. timestep: (B), of its timesteps. With
    prev_sample its log-prob is taken and nothing is drawn; gradients flow to model_output. Without, noise comes from
    noise_seed, or from torch's generator where it is None (a `generator`, or the default one). log_prob is float32 (B);
    std_dev_t is the diffusion coefficient, without the root of the step, as published.

    Source: flow_grpo/diffusers_patch/sd3_sde_with_logprob.py.
    """
    if prev_sample is not None and generator is not None:
        raise InvalidValueError("sde_step_with_logprob: a generator beside prev_sample, with which nothing is drawn")
    chain = make_chain(scheduler.sigmas, "flow_sde", noise_level)
    times = torch.as_tensor(timestep).reshape(-1)
    at = torch.tensor([scheduler.index_for_timestep(t) for t in times])
    transitions = chain.table[at.expand(sample.shape[0]) if at.numel() == 1 else at]
    sample = sample.float()  # as published: states in bf16 lose the step
    velocity = model_output if model_output.dtype in (torch.float32, torch.bfloat16, torch.float16) else model_output.float()
    columns = (-1,) + (1,) * (sample.dim() - 1)
    with torch.no_grad():
        mean = _steps.ode_step(sample, velocity, transitions)
    if prev_sample is None:
        if noise_seed is None:
            noise_seed = int(torch.randint(0, 2**31, (1,), generator=generator, device=generator.device if generator else "cpu"))
        rows = torch.arange(sample.shape[0])
        ids = torch.stack([torch.zeros_like(rows), rows, torch.broadcast_to(at, rows.shape), torch.zeros_like(rows)], 1)
        with torch.no_grad():
            prev_sample, log_prob = _steps.step(sample, velocity, transitions, ids, (noise_seed, 0))
    else:
        log_prob = _steps.log_prob(sample, velocity, prev_sample.detach().float(), transitions)
    std_dev_t = transitions[:, 6].float().reshape(columns)
    return prev_sample, log_prob.float(), mean, std_dev_t


@typed
def clipped_loss(log_prob, old_log_prob, advantages, clip_range: float = 1e-4, adv_clip_max: float = 5.0, weights=None):
    """Flow-GRPO's clipped policy loss, the mean over the batch, of log-probs that are at hand; gradients flow to log_prob.

    With velocities in place of log-probs `policy_loss` is one operator, and its gradient needs no graph.
    Source: flow_grpo, scripts/train_sd3.py.
    """
    _leaf_free("clipped_loss", old_log_prob=old_log_prob, advantages=advantages, weights=weights)
    losses, _ = ops.clipped_surrogate(log_prob.to(torch.float64), old_log_prob.to(torch.float64),
                                      advantages.to(torch.float64),
                                      torch.ones(log_prob.shape, dtype=torch.float64) if weights is None else weights.to(torch.float64),
                                      clip_range, clip_range, adv_clip_max)
    return losses.mean()
