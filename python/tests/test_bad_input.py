# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused, with which error, and what it says."""

import pytest
import torch
from conftest import ids_of

import tempflow


@pytest.fixture
def given(chain):
    ids = ids_of(3, 2)
    x, v = (tempflow.noise(ids, (2, 4), (k, 0)) for k in (1, 2))
    return chain, ids, x, v


def test_shapes_types_and_numbers_are_checked(given):
    chain, ids, x, v = given
    t = chain[2]
    with pytest.raises(tempflow.ShapeError, match="v is 3 x 4, expected 3 x 8"):
        tempflow.step(x, v[:, :1], t, ids, (0, 0))
    with pytest.raises(tempflow.ShapeError, match=r"x has shape \(\)"):
        tempflow.step(torch.tensor(1.0), v, t, ids, (0, 0))
    with pytest.raises(tempflow.InvalidValueError, match="x is float64 and v is float32"):
        tempflow.step(x.double(), v, t, ids, (0, 0))
    with pytest.raises(tempflow.InvalidValueError, match="x is int64"):
        tempflow.ode_step(x.long(), v.long(), t)
    with pytest.raises(tempflow.InvalidValueError, match="transitions is float32, expected float64"):
        tempflow.ode_step(x, v, t.float())
    with pytest.raises(tempflow.ShapeError, match=r"transitions has shape \(6\)"):
        tempflow.ode_step(x, v, t[:6])
    with pytest.raises(tempflow.InvalidValueError, match=r"ids\[1\] has step 70000"):
        tempflow.step(x, v, t, torch.tensor([[0, 0, 0, 0], [0, 0, 70000, 0], [0, 0, 0, 0]]), (0, 0))
    with pytest.raises(tempflow.ShapeError, match=r"ids has shape \(3, 3\)"):
        tempflow.step(x, v, t, ids[:, :3], (0, 0))
    with pytest.raises(tempflow.InvalidValueError, match="key"):
        tempflow.step(x, v, t, ids, (-1, 0))
    with pytest.raises(tempflow.InvalidValueError, match="reduction = 'average'"):
        tempflow.step(x, v, t, ids, (0, 0), reduction="average")
    with pytest.raises(tempflow.ScheduleError):
        tempflow.log_prob(x, v, x, torch.tensor([1.0, -0.1, 0, 1, 0.9, 0.1, 0]).double())
    with pytest.raises(tempflow.InvalidValueError, match="explorations = 0"):
        tempflow.branch_step(x, v, t, ids, (0, 0), 0)
    assert issubclass(tempflow.ShapeError, ValueError)


def test_a_leaf_that_would_get_no_gradient_is_refused(given):
    chain, ids, x, v = given
    y, old = tempflow.step(x, v, chain[2], ids, (0, 0))
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(tempflow.InvalidValueError, match="x requires grad"):
        tempflow.policy_loss_rows(v, x.clone().requires_grad_(), y, chain[2], old, ones)
    with pytest.raises(tempflow.InvalidValueError, match="v requires grad"):
        tempflow.step(x, v.clone().requires_grad_(), chain[2], ids, (0, 0))
    with torch.no_grad():
        y, _ = tempflow.step(x, v.clone().requires_grad_(), chain[2], ids, (0, 0))
    assert not y.requires_grad


def test_offsets_and_counts_of_the_loss(given):
    chain, ids, x, v = given
    y, old = tempflow.step(x, v, chain[2], ids, (0, 0))
    ones = torch.ones(3, dtype=torch.float64)
    for offsets in ([0, 2, 1, 3], [0, 1, 2], [0, 1, 2, 10**12], [1, 2, 3, 3], [-5, 1, 2, 3]):
        with pytest.raises(tempflow.ShapeError):
            tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, offsets=torch.tensor(offsets))
    with pytest.raises(tempflow.ShapeError, match="advantages has 2 entries"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones[:2])
    with pytest.raises(tempflow.ShapeError, match="v_ref"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, kl_beta=0.1)
    with pytest.raises(tempflow.InvalidValueError, match="advantages"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones * float("nan"))
    bad = v.clone()
    bad[1, 0, 0] = float("nan")
    leaf = bad.requires_grad_()
    loss, rows = tempflow.policy_loss_rows(leaf, x, y, chain[2], old, ones)
    loss.backward()
    assert tempflow.statistics_of(rows).non_finite_rows == 1 and torch.isfinite(leaf.grad).all()


def test_schedules(given):
    with pytest.raises(tempflow.ScheduleError):
        tempflow.make_chain([1.0, 0.5, 0.7, 0.0])
    with pytest.raises(tempflow.InvalidValueError, match="flow_sde, flow_cps"):
        tempflow.make_chain([1.0, 0.5, 0.0], "sde")
    with pytest.raises(tempflow.InvalidValueError, match="does not depend on image_tokens"):
        tempflow.sigmas("sd3", 10, image_tokens=4)
    with pytest.raises(tempflow.InvalidValueError, match="qwen_image_lightning"):
        tempflow.sigmas("dit", 10)
    with pytest.raises(tempflow.ScheduleError):
        tempflow.branch_plan(given[0], branch_steps=[3, 2])
    with pytest.raises(tempflow.InvalidValueError):
        tempflow.branch_plan(given[0], seeds_per_prompt=0)
