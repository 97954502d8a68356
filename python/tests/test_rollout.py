# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts, batches, and a training run."""

import os
import subprocess

import pytest
import torch

import tempflow

SHAPE = (2, 3, 4)
GRID = tempflow.sigmas("sd3", 10)
PLANS = {
    "branch": lambda: tempflow.branch_plan(tempflow.make_chain(GRID), seeds_per_prompt=2, explorations=3, finish_trunk=True),
    "branch_2m": lambda: tempflow.branch_plan(tempflow.make_chain(GRID), seeds_per_prompt=2, explorations=4,
                                              completion_steps=[4], completion_solver="dpm_solver_2m", antithetic=True,
                                              shared_noise=True),
    "flow": lambda: tempflow.flow_plan(tempflow.make_chain(GRID, "flow_cps"), samples_per_prompt=4),
    "window": lambda: tempflow.flow_plan(tempflow.make_chain(GRID, stochastic_steps=[2, 3, 4]), samples_per_prompt=4,
                                         shared_noise=True),
    "window_2m": lambda: tempflow.flow_plan(tempflow.make_chain(GRID, stochastic_steps=[2, 3]), samples_per_prompt=4,
                                            solver="dpm_solver_2m"),
    "tree": lambda: tempflow.tree_plan(tempflow.make_chain(GRID, "dance_sde"), children=2, split_steps=[0, 3]),
}


def halving_model(x, sigma, prompts):
    return x * torch.where(prompts % 2 == 0, 0.5, 0.25).reshape(-1, *[1] * (x.dim() - 1))


def batches_of(rollout, **options):
    return tempflow.minibatches(rollout, torch.ones(len(rollout.identities)), torch.ones(len(rollout.plan.chain)), **options)


@pytest.mark.parametrize("name", PLANS)
def test_bits_are_those_of_the_cpp_engine(name, tmp_path):
    engine = os.environ.get("TEMPFLOW_ENGINE")
    if not engine:
        pytest.skip("TEMPFLOW_ENGINE names no C++ engine to compare with; ./dev test-python builds it")
    plan = PLANS[name]()
    rollout = tempflow.roll_out(halving_model, plan, [7, 4], (11, 3), shape=SHAPE, max_batch=5)
    subprocess.run([engine, name, str(tmp_path / "bits")], check=True)
    data = (tmp_path / "bits").read_bytes()
    count = rollout.log_probs.numel()
    log_probs = torch.frombuffer(bytearray(data[:8 * count]), dtype=torch.float64)
    elements = torch.frombuffer(bytearray(data[8 * count:]), dtype=torch.float32).reshape(-1, *SHAPE)
    assert torch.equal(rollout.log_probs, log_probs)
    assert torch.equal(torch.cat([rollout.samples, rollout.states]), elements)


@pytest.mark.parametrize("name", PLANS)
def test_fixed_elements_stay_and_the_others_are_drawn_as_without_them(name):
    plan = PLANS[name]()
    mask = torch.arange(24).reshape(SHAPE) % 3 != 0
    values = torch.arange(48.0).reshape(2, *SHAPE)
    free = tempflow.roll_out(halving_model, plan, [7, 4], (11, 3), shape=SHAPE)  # a model of each element alone
    rollout = tempflow.roll_out(halving_model, plan, [7, 4], (11, 3), shape=SHAPE, fixed=(mask, values))
    for states, drawn, prompts in (
            (rollout.samples, free.samples, [identity.prompt for identity in free.identities]),
            (rollout.states[rollout.table[:, 0]], free.states[free.table[:, 0]], rollout.table[:, 6].tolist()),
            (rollout.states[rollout.table[:, 1]], free.states[free.table[:, 1]], rollout.table[:, 6].tolist())):
        given = torch.stack([values[[7, 4].index(prompt)] for prompt in prompts])
        assert torch.equal(states, torch.where(mask, drawn, given))

    ones = torch.ones(len(rollout.table)), torch.ones(len(plan.chain))
    batches = tempflow.minibatches(rollout, *ones, of_rows=True, size=5)
    for batch in batches:
        v = halving_model(batch.x, batch.sigma, batch.prompts).requires_grad_()
        loss, statistics = tempflow.policy_loss(v, batch)
        loss.backward()
        assert statistics.max_abs_log_ratio == 0 and not v.grad[:, ~mask].any() and v.grad[:, mask].any()
    assert tempflow.rescore(halving_model, batches).max_abs == 0


def test_fixed_elements_that_do_not_fit_are_refused():
    plan, mask, values = PLANS["branch"](), torch.ones(SHAPE, dtype=torch.bool), torch.zeros(2, *SHAPE)
    redrawn = tempflow.branch_plan(tempflow.make_chain(GRID), explorations=2, redraw=True)
    for error, of, fixed in ((tempflow.ShapeError, plan, (mask[:1], values)), (tempflow.ShapeError, plan, (mask.float(), values)),
                             (tempflow.ShapeError, plan, (mask, torch.zeros(3, *SHAPE))),
                             (tempflow.InvalidValueError, plan, (mask, values.double())),
                             (tempflow.InvalidValueError, plan, (~mask, values)),
                             (tempflow.InvalidValueError, redrawn, (mask, values))):
        with pytest.raises(error):
            tempflow.roll_out(halving_model, of, [7, 4], (11, 3), shape=SHAPE, fixed=fixed)


def test_costs_identities_and_groups():
    plan = PLANS["branch"]()
    rollout = tempflow.roll_out(halving_model, plan, [7, 4], (11, 3), shape=SHAPE)
    cost = plan.cost(2, dimension=24)
    assert cost.samples == len(rollout.identities) == rollout.samples.shape[0] == 2 * 2 * 3 * 9
    assert cost.model_calls == 10 and cost.trained_rows == rollout.table.shape[0] == rollout.log_probs.numel()
    assert rollout.trunk_samples.shape[0] == 4
    groups = rollout.groups("prompt")
    assert len(set(groups.tolist())) == 2 * 9 and len(set(rollout.groups("seed").tolist())) == 4 * 9
    seen = {}
    for identity, group in zip(rollout.identities, groups.tolist()):
        assert seen.setdefault(group, (identity.prompt, identity.step)) == (identity.prompt, identity.step)


def test_batches_have_each_state_once_and_are_on_policy():
    rollout = tempflow.roll_out(halving_model, PLANS["branch"](), [7, 4], (11, 3), shape=SHAPE)
    advantages = tempflow.group_advantages(rollout.samples.flatten(1).sum(1), rollout.groups())
    weights = tempflow.timestep_weights(rollout.plan.chain, rollout.plan.chain.trainable_steps())
    rows, states = [], 0
    for batch in tempflow.minibatches(rollout, advantages, weights, size=7, shuffle=(1, 2)):
        v = halving_model(batch.x, batch.sigma, batch.prompts).requires_grad_()
        loss, statistics = tempflow.policy_loss(v, batch)
        loss.backward()
        assert statistics.max_abs_log_ratio == 0 and v.grad.abs().max() > 0
        rows += batch.rows.tolist()
        states += batch.x.shape[0]
        assert batch.mean_over == rollout.table.shape[0]
    assert sorted(rows) == list(range(rollout.table.shape[0])) and states == 4 * 9


def test_rescoring_tells_what_changed_at_each_step():
    rollout = tempflow.roll_out(halving_model, PLANS["branch"](), [7, 4], (11, 3), shape=SHAPE)
    assert tempflow.rescore(halving_model, batches_of(rollout)).max_abs == 0

    def off_at_steps_3_and_6(x, sigma, prompts):
        at = GRID.float()
        return halving_model(x, sigma, prompts) * (1 + 1e-3 * (sigma[0] == at[3]) + 2e-3 * (sigma[0] == at[6]))

    old = rollout.log_probs.clone()
    drift = tempflow.rescore(off_at_steps_3_and_6, batches_of(rollout, size=4))  # of a step each: 4 states at each
    assert torch.equal(drift.changes, rollout.log_probs - old) and torch.equal(drift.steps, rollout.table[:, 2])
    by_step = drift.by_step()
    assert list(by_step) == list(range(9)) and {s for s, d in by_step.items() if d.max_abs > 0} == {3, 6}
    assert all(len(d.changes) == 12 and d.max_abs > d.mean_abs for s, d in by_step.items() if s in (3, 6))
    assert drift.max_abs == max(by_step[3].max_abs, by_step[6].max_abs) and drift.mean_abs == pytest.approx(
        (by_step[3].mean_abs + by_step[6].mean_abs) / 9)
    kept = rollout.log_probs.clone()
    with pytest.raises(tempflow.InvalidValueError, match="log-prob of row 3 is nan"):  # of state 1
        tempflow.rescore(lambda x, s, p: x * torch.where(x == rollout.states[1], float("nan"), 0.5), batches_of(rollout))
    assert torch.equal(rollout.log_probs, kept)


class BatchDependent(torch.nn.Module):
    """A row's velocity depends on what is in its batch and on the grad mode, as kernels do."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, sigma, prompts):
        return x * (self.scale + 1e-3 * x.mean() + 1e-3 * torch.is_grad_enabled())


@pytest.mark.parametrize("inference", [False, True])
def test_rescored_batches_are_on_policy_whatever_the_model_depends_on(inference):
    model = BatchDependent()
    with torch.inference_mode(inference):
        rollout = tempflow.roll_out(model, PLANS["branch"](), [7, 4], (11, 3), shape=SHAPE)
    rollout.reduction, rollout.terms = "sum", "without_constants"
    advantages = torch.linspace(-1, 1, len(rollout.identities))
    batches = tempflow.minibatches(rollout, advantages, torch.ones(10), size=7, shuffle=(1, 2), leave_out=[0, 5])
    before = rollout.log_probs.clone()
    drift = tempflow.rescore(model, batches)
    trained = torch.cat([batch.rows for batch in batches]).sort().values
    assert len(trained) == len(before) - 2 and torch.equal(drift.steps, rollout.table[trained, 2])
    assert torch.equal(drift.changes, (rollout.log_probs - before)[trained]) and (drift.changes != 0).all()
    for batch in batches:
        loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
        loss.backward()
        assert statistics.max_abs_log_ratio == 0
    assert model.scale.grad != 0
    with pytest.raises(tempflow.ShapeError, match="v has shape"):
        tempflow.rescore(lambda x, s, p: x.mT, batches)


def test_a_redrawn_rollout_trains_alike():
    chain = tempflow.make_chain(GRID)
    gradients = []
    for redraw in (False, True):
        plan = tempflow.branch_plan(chain, seeds_per_prompt=1, explorations=4, redraw=redraw)
        rollout = tempflow.roll_out(halving_model, plan, [3], (1, 1), shape=SHAPE)
        advantages = tempflow.group_advantages(rollout.samples.flatten(1).mean(1), rollout.groups())
        batches = tempflow.minibatches(rollout, advantages, torch.ones(10))
        (batch,) = batches
        if redraw:
            with pytest.raises(tempflow.InvalidValueError, match="second pass"):
                list(batches)
        v = halving_model(batch.x, batch.sigma, batch.prompts).requires_grad_()
        tempflow.policy_loss(v, batch)[0].backward()
        gradients.append(v.grad)
    assert torch.allclose(*gradients, rtol=1e-2, atol=1e-5)


def test_a_redrawn_rollout_is_spent_by_a_loop_that_is_left():
    plan = tempflow.branch_plan(tempflow.make_chain(GRID), seeds_per_prompt=2, explorations=2, redraw=True)
    rollout = tempflow.roll_out(halving_model, plan, [3], (1, 1), shape=SHAPE)
    batches = batches_of(rollout, size=5)
    for batch in batches:  # looking at the first is not training
        break
    for batch in batches:
        if batch.completes_update:
            break
    with pytest.raises(tempflow.InvalidValueError, match="second pass"):
        next(iter(batches))


@pytest.mark.parametrize("name", PLANS)
def test_models_may_work_in_place_and_return_the_same_memory(name):
    plan, outputs = PLANS[name](), {}

    def rough_model(x, sigma, prompts):
        v = halving_model(x, sigma, prompts)
        x.zero_()
        return outputs.setdefault(x.shape, torch.empty_like(v)).copy_(v)
    for prompts in ([7, 4], [2]):
        expected = tempflow.roll_out(halving_model, plan, prompts, (11, 3), shape=SHAPE)
        for max_batch in (0, 1, 3):
            found = tempflow.roll_out(rough_model, plan, prompts, (11, 3), shape=SHAPE, max_batch=max_batch)
            assert torch.equal(found.samples, expected.samples) and torch.equal(found.states, expected.states)
            assert torch.equal(found.log_probs, expected.log_probs)
    with pytest.raises(tempflow.InvalidValueError, match="max_batch = -1"):
        tempflow.roll_out(halving_model, plan, [1], (0, 0), shape=SHAPE, max_batch=-1)


def test_batches_leave_out_and_refuse():
    rollout = tempflow.roll_out(halving_model, PLANS["branch"](), [7, 4], (11, 3), shape=SHAPE)
    rewards = rollout.samples.flatten(1).sum(1)
    rewards[5] = float("nan")
    groups = rollout.groups()
    advantages = tempflow.group_advantages(rewards, groups, not_finite="exclude")
    batches = tempflow.minibatches(rollout, advantages, torch.ones(10), size=5)
    assert len(batches) == len(list(batches)) == 8 and batches.left_out_rows == 1 and batches.skipped_rows == 0
    assert sum(len(batch.rows) for batch in batches) == rollout.table.shape[0] - 1
    with pytest.raises(tempflow.ShapeError, match="advantages"):
        tempflow.minibatches(rollout, advantages.values[1:], torch.ones(10))
    with pytest.raises(tempflow.ShapeError, match="weights"):
        tempflow.minibatches(rollout, advantages, torch.ones(9))
    with pytest.raises(tempflow.InvalidValueError, match="size = 0"):
        tempflow.minibatches(rollout, advantages, torch.ones(10), size=0)
    sd3 = tempflow.preset("sd3_5_medium")
    assert torch.equal(torch.tensor(sd3.sigmas, dtype=torch.float64), GRID) and sd3.explorations == 6 and sd3.kl_beta == 0.004
    assert tempflow.preset("wan_2_1").noise_level is None and tempflow.preset("qwen_image").use_ema is False
    with pytest.raises(tempflow.InvalidValueError, match="flux_1_dev"):
        tempflow.preset("flux")


def test_what_a_model_does_wrong_is_named():
    plan = PLANS["flow"]()
    with pytest.raises(tempflow.ShapeError, match=r"returned \(8, 2, 3\)"):
        tempflow.roll_out(lambda x, s, p: x[..., 0], plan, [1, 2], (0, 0), shape=SHAPE)
    with pytest.raises(tempflow.InvalidValueError, match="not finite at step 0.*prompt 1"):
        tempflow.roll_out(lambda x, s, p: x * float("nan"), plan, [1, 2], (0, 0), shape=SHAPE)
    with pytest.raises(tempflow.InvalidValueError, match="not finite at step 0.*prompt 1"):
        tempflow.roll_out(lambda x, s, p: x * float("nan"), plan, [1, 2], (0, 0), shape=())
    with pytest.raises(tempflow.GroupError):
        tempflow.roll_out(halving_model, plan, [1, 1], (0, 0), shape=SHAPE)

    class Boom(Exception):
        pass

    def boom(x, s, p):
        raise Boom
    with pytest.raises(Boom):
        tempflow.roll_out(boom, plan, [1], (0, 0), shape=SHAPE)


@pytest.mark.parametrize("method", ["branch", "flow"])
def test_a_small_network_learns(method):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(24 + 1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 24))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)

    def model(x, sigma, prompts):
        return network(torch.cat([x.flatten(1), sigma[:, None]], 1)).reshape(x.shape)

    chain = tempflow.make_chain(GRID, noise_level=0.7)
    plan = (tempflow.branch_plan(chain, seeds_per_prompt=4, explorations=6, completion_steps=[2]) if method == "branch"
            else tempflow.flow_plan(chain, samples_per_prompt=24))
    weights = tempflow.timestep_weights(chain, chain.trainable_steps())

    def reward_of(samples):
        return -(samples.flatten(1) - 1).square().mean(1)

    def evaluate():
        """The mean reward of samples of noises that training does not see."""
        trunks = tempflow.flow_plan(chain, samples_per_prompt=1)
        return reward_of(tempflow.roll_out(model, trunks, range(100, 164), (9, 9), shape=SHAPE).samples).mean().item()

    before = evaluate()
    for update in range(25):
        rollout = tempflow.roll_out(model, plan, [0], (1, update), shape=SHAPE)
        advantages = tempflow.group_advantages(reward_of(rollout.samples), rollout.groups("prompt"))
        for batch in tempflow.minibatches(rollout, advantages, weights, size=64, shuffle=(2, update)):
            loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
            loss.backward()
            if batch.completes_update:
                assert statistics.max_abs_log_ratio < 1e-6
                optimizer.step()
                optimizer.zero_grad()
    assert evaluate() > before + 0.05, (before, evaluate())
