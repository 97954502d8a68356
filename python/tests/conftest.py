# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Batches and formulas that tests share. The formulas are those of Flow-GRPO's code, in float64."""

import math

import pytest
import torch

import tempflow

STORAGE = [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.bfloat16),
           (torch.float16, torch.float16), (torch.float32, torch.bfloat16), (torch.float32, torch.float16)]


@pytest.fixture
def chain():
    return tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)


def ids_of(rows, step=0):
    return torch.tensor([[prompt, prompt % 3, step, 0] for prompt in range(rows)])


def log_prob_of(x, v, y, transitions):
    """-mean(r^2) / (2 std^2) - log std - log(2 pi) / 2 with r = y - alpha x - beta v."""
    alpha, beta, std = (transitions[..., i].reshape(-1, *[1] * (x.dim() - 1)) for i in range(3))
    r = y.double() - alpha * x.double() - beta * v.double()
    log_p = -(r**2) / (2 * std**2) - std.log() - 0.5 * math.log(2 * math.pi)
    return log_p.flatten(1).mean(1)


def loss_of(x, v, y, v_ref, transitions, old, advantages, weights, clip, kl_beta):
    ratio = (log_prob_of(x, v, y, transitions) - old).exp()
    a = advantages.clamp(-5, 5)
    policy = weights * torch.maximum(-a * ratio, -a * ratio.clamp(1 - clip, 1 + clip))
    if v_ref is None:
        return policy.mean()
    beta, std = (transitions[..., i].reshape(-1, *[1] * (x.dim() - 1)) for i in (1, 2))
    kl = ((beta * (v.double() - v_ref.double())) ** 2 / (2 * std**2)).flatten(1).mean(1)
    return (policy + kl_beta * kl).mean()
