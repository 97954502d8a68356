# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
import torch, tempflow

# Your model: the exact velocity of four Gaussian blobs with trainable shares softmax(logits).
logits = torch.zeros(4, requires_grad=True)
centers = torch.tensor([[-2.0, -2], [2, -2], [-2, 2], [2, 2]])

def model(x, sigma, prompts):
    s = 1 - sigma[:, None, None]
    variance = s * s * 0.04 + (1 - s) ** 2
    away = x[:, None] - s * centers
    share = torch.softmax(logits - (away**2).sum(2) / (2 * variance[:, 0]), 1)
    data = (share[:, :, None] * (centers + s * 0.04 / variance * away)).sum(1)
    return (x - data) / sigma[:, None]

chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
plan = tempflow.branch_plan(chain, seeds_per_prompt=64, explorations=6)
weights = tempflow.timestep_weights(chain, chain.trainable_steps())
optimizer = torch.optim.SGD([logits], lr=10)
for update in range(41):
    rollout = tempflow.roll_out(model, plan, [0], key=(42, update), shape=(2,))
    rewards = (rollout.samples[:, 0] > 0).double()  # score the finished samples with anything
    advantages = tempflow.group_advantages(rewards, rollout.groups("seed"))
    for batch in tempflow.minibatches(rollout, advantages, weights, size=512):
        loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
        loss.backward()
        if batch.completes_update:
            optimizer.step(), optimizer.zero_grad()
    if update % 10 == 0:
        print(f"update {update:2}: {100 * rewards.mean():.0f} % on the right")
