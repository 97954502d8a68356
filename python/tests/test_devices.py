# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Tables lie on the CPU whatever torch's default device is, and tensors on two devices are refused."""

import pytest
import torch
from conftest import ids_of

import tempflow
from tempflow._operators import ops

CPU = torch.device("cpu")


def program(redraw):
    """Everything the package makes tables for; its own tensors are on the CPU by name."""
    chain = tempflow.make_chain([1.0, 0.8, 0.6, 0.3, 0.0])
    plan = tempflow.branch_plan(chain, seeds_per_prompt=2, explorations=2, completion_solver="dpm_solver_2m", completion_steps=[0],
                                redraw=redraw)

    def model(x, sigma, prompts):
        return x * (0.5 + 0.1 * sigma + 0.01 * prompts)[:, None]
    rollout = tempflow.roll_out(model, plan, [3, 1], (1, 2), shape=(6,), device="cpu")
    rewards = rollout.samples.sum(1)
    advantages = tempflow.group_advantages(rewards.tolist(), rollout.groups().tolist())
    joint, = tempflow.joint_advantages([rollout], [rewards])
    weights = tempflow.timestep_weights(chain, chain.trainable_steps())
    results = [rollout.samples, rollout.log_probs, advantages.values, joint.values, torch.as_tensor(
        tempflow.dead_group_samples(advantages, rollout.groups()), device="cpu"),
        tempflow.sample(model, tempflow.make_chain([1.0, 0.5, 0.0], "ode"), [2], (1, 2), shape=(6,))]
    batches = tempflow.minibatches(rollout, joint, weights.tolist(), size=3, leave_out=[2])
    if not redraw:
        results.append(tempflow.rescore(model, batches).changes)
    for batch in tempflow.joint_minibatches([batches]):
        v = model(batch.x, batch.sigma, batch.prompts).requires_grad_()
        loss, statistics = tempflow.policy_loss(v, batch)
        loss.backward()
        results += [v.grad, statistics.per_row]
    results.append(tempflow.policy_loss_rows(v.detach(), batch.x, batch.x, chain[1], batch.old_log_probs[:len(v)].double(),
                                             batch.advantages[:len(v)], weights=0.5)[0])

    class Scheduler:
        sigmas = chain.sigmas.float()

        def index_for_timestep(self, timestep):
            return int((self.sigmas == timestep).nonzero()[0])
    for times in (0.8, Scheduler.sigmas[:2]):
        after, log_prob, *_ = tempflow.sde_step_with_logprob(Scheduler(), v.detach()[:2], times, batch.x[:2], noise_seed=5)
        again = tempflow.sde_step_with_logprob(Scheduler(), v.detach()[:2], times, batch.x[:2], prev_sample=after)[1]
        results += [after, log_prob, tempflow.clipped_loss(again, log_prob - 0.1, log_prob)]
    return results


@pytest.mark.parametrize("redraw", [False, True])
def test_the_default_device_does_not_matter(redraw):
    expected = program(redraw)
    with torch.device("meta"):
        in_context = program(redraw)
    torch.set_default_device("meta")
    try:
        by_default = program(redraw)
    finally:
        torch.set_default_device(None)
    for found in (in_context, by_default):
        assert len(found) == len(expected)
        for now, then in zip(found, expected):
            assert now.device == CPU and torch.equal(now, then)


def test_tensors_on_two_devices_are_refused(chain):
    ids, t = ids_of(3, 2), chain[2].clone()
    x, v, ones = torch.randn(3, 4), torch.randn(3, 4), torch.ones(3, dtype=torch.float64)
    key, offsets, mask = (0, 0, False), torch.arange(4), torch.ones(4, dtype=torch.bool)
    calls = {
        "fill_noise": ((ids,), lambda ids: ops.fill_noise(x, ids, *key, 0)),
        "step": ((x, v, t, ids, mask), lambda x, v, t, ids, mask: ops.step(x, v, t, ids, *key, 0, mask, True, "mean", "all")),
        "ode_step": ((x, v, t), lambda *tensors: ops.ode_step(*tensors, None)),
        "branch_step": ((x, v, t, t, ids), lambda *tensors: ops.branch_step(*tensors, 2, *key, 0, None, "mean", "all")),
        "log_prob": ((x, v, x, mask, offsets, t), lambda *tensors: ops.log_prob(*tensors, "mean", "all")),
        "log_prob_gradient": ((v, x, x, None, offsets, t, ones), lambda *tensors: ops.log_prob_gradient(*tensors, "mean", "all")),
        "policy_loss": ((v, x, None, v, v, None, offsets, t, ones, ones, ones, ids), lambda *tensors: ops.policy_loss(
            *tensors, *key, *tempflow.ClippedGRPO(kl_beta=0.1).parameters(), "mean", "all", 0, False)),
        "policy_loss of means": ((v, x, x, v, v, mask, offsets, t, ones, ones, ones, None), lambda *tensors: ops.policy_loss(
            *tensors, *key, *tempflow.GRPOGuard().parameters(), "mean", "all", 0, False)),
        "policy_sums": ((v, x, x, v, v, mask, offsets, t), lambda *tensors: ops.policy_sums(*tensors, 0.0)),
        "policy_gradient": ((v, x, x, v, v, mask, offsets, t, torch.ones(3, 3).double()), ops.policy_gradient),
        "clipped_surrogate": ((ones, ones, ones, ones), lambda *tensors: ops.clipped_surrogate(*tensors, 0.1, 0.1, 5.0)),
        "group_advantages": ((ones, offsets[:3] // 2), lambda *tensors: ops.group_advantages(
            *tensors, "none", "population", 1e-4, "add", "refuse", "group_mean", 0.0, 0, None)),
        "ema_update": ((x, v), lambda *tensors: ops.ema_update(*tensors, 0.5)),
        "guide": ((x, v, ones), lambda *tensors: ops.guide(*tensors, 2)),
        "guide_gradient": ((v, x, v, ones), lambda *tensors: ops.guide_gradient(*tensors, 2, True, True)),
    }
    for name, (tensors, call) in calls.items():
        call(*tensors)
        for i, tensor in enumerate(tensors):
            if tensor is not None:
                with pytest.raises((tempflow.BackendMemoryError, RuntimeError), match="is on .*(cpu|meta), .* on (cpu|meta)"):
                    call(*tensors[:i], tensor.to("meta"), *tensors[i + 1:])
                    pytest.fail(f"{name} takes its argument {i} from meta")
