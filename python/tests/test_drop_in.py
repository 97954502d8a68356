# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The drop-ins against what they stand in for, written from its formulas (Flow-GRPO, sd3_sde_with_logprob.py and
train_sd3.py), on 200 random cases."""

import math

import pytest
import torch

import tempflow


class Scheduler:
    """What the function needs of diffusers' FlowMatchEulerDiscreteScheduler."""

    def __init__(self, steps):
        self.sigmas = tempflow.sigmas("sd3", steps).float()
        self.timesteps = self.sigmas[:-1] * 1000

    def index_for_timestep(self, timestep):
        return int((self.timesteps == timestep).nonzero()[0])


def published_step(scheduler, model_output, timestep, sample, noise_level, prev_sample):
    """In the dtype of its arguments, as published."""
    index = [scheduler.index_for_timestep(t) for t in timestep]
    shape = (-1,) + (1,) * (sample.dim() - 1)
    sigma = scheduler.sigmas.to(sample.dtype)[index].view(shape)
    sigma_next = scheduler.sigmas.to(sample.dtype)[[i + 1 for i in index]].view(shape)
    sigma_max = scheduler.sigmas[1].to(sample.dtype)
    dt = sigma_next - sigma
    std = torch.sqrt(sigma / (1 - torch.where(sigma == 1, sigma_max, sigma))) * noise_level
    mean = sample * (1 + std**2 / (2 * sigma) * dt) + model_output * (1 + std**2 * (1 - sigma) / (2 * sigma)) * dt
    deviation = std * torch.sqrt(-dt)
    log_prob = (-((prev_sample - mean) ** 2) / (2 * deviation**2) - torch.log(deviation)
                - torch.log(torch.sqrt(torch.tensor(2 * math.pi, dtype=sample.dtype))))
    return log_prob.flatten(1).mean(1), mean, std


@pytest.mark.parametrize("velocities, bound", [(torch.float32, 1e-6), (torch.bfloat16, 1e-6)])
def test_two_hundred_cases(velocities, bound):
    generator = torch.Generator().manual_seed(0)
    for case in range(100):
        scheduler = Scheduler(6 + case % 10)
        rows = 1 + case % 4
        at = torch.randint(0, len(scheduler.timesteps) - 1, (rows,), generator=generator)
        times = scheduler.timesteps[at]
        sample = torch.randn((rows, 4, 5, 6), generator=generator)
        v = torch.randn(sample.shape, generator=generator).to(velocities)
        drawn, log_prob, mean, std = tempflow.sde_step_with_logprob(scheduler, v, times, sample, generator=generator)
        exact, exact_mean, exact_std = published_step(scheduler, v.double(), times, sample.double(), 0.7, drawn.double())
        assert (log_prob.double() - exact).abs().max() < bound * (1 + exact.abs().max())
        assert (mean.double() - exact_mean).abs().max() < bound * 5
        assert std.shape == exact_std.shape and torch.allclose(std.double(), exact_std, rtol=1e-6)
        leaf = (v.float() + 1e-3).to(velocities).requires_grad_()
        again, now, _, _ = tempflow.sde_step_with_logprob(scheduler, leaf, times, sample, prev_sample=drawn)
        assert torch.equal(again, drawn)
        advantages = torch.randn(rows, generator=generator) * 3
        loss = tempflow.clipped_loss(now, log_prob, advantages, clip_range=1e-3)
        loss.backward()
        other = leaf.detach().double().requires_grad_()
        ratio = (published_step(scheduler, other, times, sample.double(), 0.7, drawn.double())[0] - log_prob.double()).exp()
        a = advantages.double().clamp(-5, 5)
        expected = torch.maximum(-a * ratio, -a * ratio.clamp(1 - 1e-3, 1 + 1e-3)).mean()
        expected.backward()
        if ((ratio - 1).abs() - 1e-3).abs().min() < 1e-5:
            continue  # on the edge of the clip range, where rounding decides
        assert abs(loss.item() - expected.item()) < 2e-6 * (1 + abs(expected.item()))
        largest = other.grad.abs().max()
        assert (leaf.grad.double() - other.grad).abs().max() <= (1e-5 if velocities == torch.float32 else 8e-3) * largest + 1e-12


@pytest.mark.parametrize("velocities", [torch.float32, torch.bfloat16])
def test_the_kl_and_a_drawn_step_have_the_published_gradient(velocities):
    """loss = policy + beta kl of train_sd3.py, whose kl is made of prev_sample_mean."""
    generator = torch.Generator().manual_seed(3)
    scheduler = Scheduler(10)
    times = scheduler.timesteps[[2, 5, 0]]
    sample, prior = (torch.randn(3, 4, 5, generator=generator) for _ in range(2))
    v, v_ref = (torch.randn(3, 4, 5, generator=generator).to(velocities) for _ in range(2))
    with torch.no_grad():
        _, _, mean_ref, _ = tempflow.sde_step_with_logprob(scheduler, v_ref, times, sample, prev_sample=prior)

    def loss(log_prob, mean, std):
        kl = ((mean - mean_ref.to(mean)) ** 2).mean((1, 2), keepdim=True) / (2 * std**2)
        return log_prob.sum() + 40 * kl.mean()
    for prev_sample in (prior, None):
        leaf, other = v.clone().requires_grad_(), v.double().requires_grad_()
        after, log_prob, mean, std = tempflow.sde_step_with_logprob(scheduler, leaf, times, sample, prev_sample=prev_sample,
                                                                    noise_seed=4)
        assert not after.requires_grad
        loss(log_prob, mean, std).backward()
        loss(*published_step(scheduler, other, times, sample.double(), 0.7, after.double())).backward()
        bound = 1e-5 if velocities == torch.float32 else 8e-3
        assert (leaf.grad.double() - other.grad).abs().max() < bound * other.grad.abs().max()
    with torch.no_grad():
        _, scored, _, _ = tempflow.sde_step_with_logprob(scheduler, v, times, sample, prev_sample=after)
    assert torch.equal(scored, log_prob)
    with pytest.raises(tempflow.InvalidValueError, match="sample requires grad"):
        tempflow.sde_step_with_logprob(scheduler, v, times, sample.clone().requires_grad_())


def test_without_noise_it_is_the_ode():
    scheduler = Scheduler(10)
    sample, v = torch.randn(2, 3, 4), torch.randn(2, 3, 4, requires_grad=True)
    for at in (0, 4, 9):
        after, log_prob, mean, std = tempflow.sde_step_with_logprob(scheduler, v, scheduler.timesteps[at].expand(2), sample, 0.0)
        euler = sample + (scheduler.sigmas[at + 1] - scheduler.sigmas[at]) * v
        assert torch.allclose(after, euler, atol=1e-6) and torch.allclose(mean, euler, atol=1e-6)
        assert log_prob.shape == (2,) and log_prob.isnan().all() and (std == 0).all()


def test_steps_that_are_not_asked_for_need_not_suit_the_noise_level():
    scheduler, sample, v = Scheduler(10), torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    after, _, mean, _ = tempflow.sde_step_with_logprob(scheduler, v, scheduler.timesteps[[4, 2]], sample, 1.5)
    _, exact, _ = published_step(scheduler, v, scheduler.timesteps[[4, 2]], sample, 1.5, after)
    assert torch.allclose(mean, exact, atol=1e-5)
    with pytest.raises(tempflow.ScheduleError, match="step 0"):
        tempflow.sde_step_with_logprob(scheduler, v, scheduler.timesteps[:1], sample, 1.5)


def test_what_it_cannot_take_is_named():
    scheduler, sample = Scheduler(10), torch.zeros(2, 2, 3)
    with pytest.raises(tempflow.InvalidValueError, match="2 generators"):
        tempflow.sde_step_with_logprob(scheduler, sample, scheduler.timesteps[:1], sample, generator=[torch.Generator()] * 2)
    with pytest.raises(tempflow.ShapeError, match=r"model_output has shape \(2, 3, 2\), sample \(2, 2, 3\)"):
        tempflow.sde_step_with_logprob(scheduler, sample.mT, scheduler.timesteps[:1], sample)
    with pytest.raises(tempflow.ShapeError, match="3 timesteps for 2 rows"):
        tempflow.sde_step_with_logprob(scheduler, sample, scheduler.timesteps[:3], sample)
    ones = torch.ones(2)
    with pytest.raises(tempflow.InvalidValueError, match=r"weights\[1\] = -1, must not be negative"):
        tempflow.clipped_loss(ones, ones, ones, weights=torch.tensor([1.0, -1.0]))


def test_a_seed_names_the_noise():
    scheduler, sample = Scheduler(10), torch.zeros(3, 2, 2)
    times = scheduler.timesteps[2].expand(3)
    first, again, other = (tempflow.sde_step_with_logprob(scheduler, sample, times, sample, noise_seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first[0], first[1])
    with pytest.raises(tempflow.InvalidValueError, match="generator beside prev_sample"):
        tempflow.sde_step_with_logprob(scheduler, sample, times, sample, prev_sample=first, generator=torch.Generator())
    chain = tempflow.Chain.from_scheduler(scheduler)
    assert len(chain) == 10 and torch.equal(chain.sigmas.float(), scheduler.sigmas)
    with pytest.raises(tempflow.ShapeError, match="set_timesteps"):
        tempflow.Chain.from_scheduler(object())
