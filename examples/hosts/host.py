# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A group of six transitions in a host on PyTorch (docs/hosts.md)."""

import tempflow
import torch

samples, elements = 6, 1024
x = ((7 * torch.arange(samples)[:, None] + torch.arange(elements)) % 11 - 5).float() / 4
weight = torch.tensor([0.5], requires_grad=True)

chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
v = x * weight  # your model
v.retain_grad()
ids = torch.zeros(samples, 4, dtype=torch.int64)  # prompt, seed, step, branch
ids[:, 1], ids[:, 2] = torch.arange(samples), 3
y, log_probs = tempflow.step(x, v.detach(), chain[3], ids, key=(1, 0))
rewards = y[:, 0].double()  # your reward
advantages = tempflow.group_advantages(rewards, torch.zeros(samples, dtype=torch.int64))

loss, rows = tempflow.policy_loss_rows(v, x, y, chain[3], log_probs, advantages.values)
loss.backward()  # on to weight.grad
print(f"log-ratio {tempflow.statistics_of(rows).max_abs_log_ratio:g}, dL/dv {v.grad[0, 0].item():.9g}")
