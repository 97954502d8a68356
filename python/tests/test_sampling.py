# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Plain sampling: the ODE's samples by its formula, an SDE's by a rollout."""

import pytest
import torch

import tempflow

SHAPE, KEY = (2, 3, 4), (5, 6)
GRID = tempflow.sigmas("flux", 8, image_tokens=1024)


def model(x, sigma, prompts):
    return torch.tanh(x) * (1 + sigma + 0.1 * prompts).reshape(-1, 1, 1, 1)


def rolled_out(chain, count, **options):
    plan = tempflow.flow_plan(chain, samples_per_prompt=count, **options)
    return tempflow.roll_out(model, plan, [3, 1], KEY, shape=SHAPE).samples


def test_the_ode_is_eulers():
    found = tempflow.sample(model, tempflow.make_chain(GRID, "ode"), [3, 1], KEY, shape=SHAPE, samples_per_prompt=2)
    rollout = tempflow.roll_out(model, tempflow.flow_plan(tempflow.make_chain(GRID), samples_per_prompt=2), [3, 1], KEY,
                                shape=SHAPE)
    starts = rollout.table[rollout.table[:, 2] == 0]
    assert starts[:, 6:8].tolist() == [[3, 0], [3, 1], [1, 0], [1, 1]]
    x = rollout.states[starts[:, 0]].double()
    prompts = torch.tensor([3, 3, 1, 1])
    for sigma, following in zip(GRID, GRID[1:]):
        x = x + (following - sigma) * model(x, sigma.expand(4), prompts)
    assert found.shape == (4, *SHAPE)
    torch.testing.assert_close(found.double(), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [None, [2, 3, 4], [5, 6, 7]])
def test_an_sde_has_the_bits_of_a_rollout(window):
    chain = tempflow.make_chain(GRID, stochastic_steps=window)
    expected = rolled_out(chain, 3)
    for max_batch in (0, 4):
        found = tempflow.sample(model, chain, [3, 1], KEY, shape=SHAPE, samples_per_prompt=3, max_batch=max_batch)
        assert torch.equal(found, expected)
    shifted = tempflow.sample(model, chain, [3, 1], KEY, shape=SHAPE, first_seed=1)
    assert torch.equal(shifted, expected[[1, 4]])


def test_the_model_is_called_once_a_step_and_errors_are_typed():
    calls = []

    def counted(x, sigma, prompts):
        calls.append((float(sigma[0]), prompts.tolist()))
        return x * 0
    chain = tempflow.make_chain(GRID, "ode")
    tempflow.sample(counted, chain, [3, 1], KEY, shape=SHAPE)
    assert calls == [(pytest.approx(float(sigma)), [3, 1]) for sigma in GRID[:-1]]
    with pytest.raises(tempflow.InvalidValueError, match="no prompts"):
        tempflow.sample(model, chain, [], KEY, shape=SHAPE)
    with pytest.raises(tempflow.InvalidValueError, match="seeds"):
        tempflow.sample(model, chain, [1], KEY, shape=SHAPE, samples_per_prompt=0)
    with pytest.raises(tempflow.InvalidValueError, match="not finite at step 0"):
        tempflow.sample(lambda x, s, p: x / 0, chain, [1], KEY, shape=SHAPE)
