# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is refused, with which error, and what it says."""

import subprocess
import sys

import pytest
import torch
from conftest import ids_of

import tempflow
from tempflow._operators import ops


@pytest.fixture
def given(chain):
    ids = ids_of(3, 2)
    x, v = (tempflow.noise(ids, (2, 4), (k, 0)) for k in (1, 2))
    return chain, ids, x, v


def test_shapes_types_and_numbers_are_checked(given):
    chain, ids, x, v = given
    t = chain[2]
    with pytest.raises(tempflow.ShapeError, match=r"v has shape \(3, 1, 4\), whose rows are not like those of x, \(3, 2, 4\)"):
        tempflow.step(x, v[:, :1], t, ids, (0, 0))
    with pytest.raises(tempflow.ShapeError, match="v is 2 x 8, expected 3 x 8"):
        tempflow.step(x, v[:2], t, ids, (0, 0))
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


def test_rows_of_another_shape_are_refused_though_they_have_as_many_elements(given):
    chain, ids, x, v = given
    t, ones = chain[2], torch.ones(3, dtype=torch.float64)
    y, old = tempflow.step(x, v, t, ids, (0, 0))

    def calls(x, v, y, v_ref):
        """Each operator, with what it takes of these."""
        key = (0, 0, False)
        return {
            "step": ((x, v), lambda: ops.step(x, v, t, ids, *key, 0, None, True, "mean", "all")),
            "ode_step": ((x, v), lambda: ops.ode_step(x, v, t, None)),
            "branch_step": ((x, v), lambda: ops.branch_step(x, v, t, t, ids, 2, *key, 0, None, "mean", "all")),
            "log_prob": ((x, v, y), lambda: ops.log_prob(x, v, y, None, None, t, "mean", "all")),
            "log_prob_gradient": ((x, v, y), lambda: ops.log_prob_gradient(v, x, y, None, None, t, ones, "mean", "all")),
            "policy_loss": ((x, v, y, v_ref), lambda: tempflow.policy_loss_rows(v, x, y, t, old, ones, v_ref=v_ref)),
        }
    names = ("x", "v", "y", "v_ref")
    good = (x, v, y, v)
    for device in ("cpu", "meta"):  # on meta the fake operators answer
        tensors = [tensor.to(device) for tensor in good]
        for name, (taken, call) in calls(*tensors).items():
            call()
            for i in range(1, len(taken)):
                wrong = [tensor.mT if i == j else tensor for j, tensor in enumerate(tensors)]
                said = rf"{name}: {names[i]} has shape \(3, 4, 2\), whose rows are not like those of x, \(3, 2, 4\)"
                with pytest.raises((tempflow.ShapeError, RuntimeError), match=said):
                    calls(*wrong)[name][1]()


def test_a_leaf_that_would_get_no_gradient_is_refused(given):
    chain, ids, x, v = given
    y, old = tempflow.step(x, v, chain[2], ids, (0, 0))
    ones = torch.ones(3, dtype=torch.float64)
    with pytest.raises(tempflow.InvalidValueError, match="x requires grad"):
        tempflow.policy_loss_rows(v, x.clone().requires_grad_(), y, chain[2], old, ones)
    with pytest.raises(tempflow.InvalidValueError, match="v requires grad"):
        tempflow.step(x, v.clone().requires_grad_(), chain[2], ids, (0, 0))
    t = chain[2].clone().requires_grad_()
    for call in (lambda: tempflow.step(x, v, t, ids, (0, 0)), lambda: tempflow.ode_step(x, v, t),
                 lambda: tempflow.branch_step(x, v, t, ids, (0, 0), 2), lambda: tempflow.log_prob(x, v, y, t),
                 lambda: tempflow.policy_loss_rows(v, x, y, t, old, ones)):
        with pytest.raises(tempflow.InvalidValueError, match="transitions requires grad"):
            call()
    with pytest.raises(tempflow.InvalidValueError, match="rewards requires grad"):
        tempflow.group_advantages(torch.ones(2, requires_grad=True), [0, 0])
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
    none = torch.zeros(0, dtype=torch.int64)
    for call in (lambda: tempflow.log_prob(x, v, y, chain[2], offsets=none),
                 lambda: tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, offsets=none)):
        with pytest.raises(tempflow.ShapeError, match="offsets has 0 entries"):
            call()
    with pytest.raises(tempflow.ShapeError, match="advantages has 2 entries"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones[:2])
    with pytest.raises(tempflow.ShapeError, match="v_ref"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, tempflow.ClippedGRPO(kl_beta=0.1))
    with pytest.raises(tempflow.InvalidValueError, match="advantages"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones * float("nan"))
    with pytest.raises(tempflow.InvalidValueError, match=r"weights\[2\] = -0.5, must not be negative"):
        tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, weights=torch.tensor([1, 0, -0.5]))
    for clip in ((0.1,), [0.1, 0.2, 0.3]):
        with pytest.raises(tempflow.InvalidValueError, match="clip"):
            tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, tempflow.ClippedGRPO(clip=clip))
    once = tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, tempflow.ClippedGRPO(clip=(0.1, 0.2)), weights=0.5)
    same = tempflow.policy_loss_rows(v, x, y, chain[2], old, ones, tempflow.ClippedGRPO(clip=[0.1, 0.2]), weights=torch.tensor(0.5))
    assert torch.equal(once[0], same[0])
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
    with pytest.raises(tempflow.ScheduleError, match="steps = 1099511627776, must be at most 65533"):
        tempflow.sigmas("sd3", 2**40)
    with pytest.raises(tempflow.ScheduleError, match=r"step 1 of the chain begins at sigma 0\.\d+, the one before ends at 0\.9"):
        tempflow.Chain(given[0].table[::2]).trainable_steps()
    with pytest.raises(tempflow.ScheduleError):
        tempflow.branch_plan(given[0], branch_steps=[3, 2])
    with pytest.raises(tempflow.InvalidValueError):
        tempflow.branch_plan(given[0], seeds_per_prompt=0)


def test_fractions_and_keys_are_not_guessed(given):
    with pytest.raises(tempflow.InvalidValueError, match="groups are torch.float32"):
        tempflow.group_advantages([1.0, 1.0, 5.0, 5.0], torch.tensor([0.1, 0.1, 0.9, 0.9]))
    plan = tempflow.branch_plan(given[0], seeds_per_prompt=2, explorations=2)
    with pytest.raises(tempflow.InvalidValueError, match=r"prompts = \[1.7\], expected whole numbers"):
        tempflow.roll_out(lambda x, s, p: x, plan, [1.7], (0, 0), shape=(4,))
    rollout = tempflow.roll_out(lambda x, s, p: x * 0.5, plan, torch.tensor([1]), (0, 0), shape=(4,))
    ones = torch.ones(len(rollout.identities))
    for shuffle in ((7,), (7, 1, 2)):
        with pytest.raises(tempflow.ShapeError, match=f"shuffle has {len(shuffle)} numbers"):
            tempflow.minibatches(rollout, ones, torch.ones(10), shuffle=shuffle)
    with pytest.raises(tempflow.InvalidValueError, match="leave_out"):
        tempflow.minibatches(rollout, ones, torch.ones(10), leave_out=[0.5])


def test_too_little_memory_has_a_type():
    program = """
import resource, tempflow
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
plan = tempflow.branch_plan(tempflow.make_chain([1.0, 0.6, 0.3, 0.0]), seeds_per_prompt=2**31)
try:
    tempflow.roll_out(None, plan, [1], (0, 0), shape=(1,))
except tempflow.BackendMemoryError:
    print("typed")
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "typed\n"


def test_averages_and_weights_are_alike():
    average = torch.zeros(2, 3)
    with pytest.raises(tempflow.ShapeError, match=r"average has shape \(2, 3\), weights \(3, 2\)"):
        tempflow.ema_update([average], [torch.ones(3, 2)], 0.5)
    with pytest.raises(tempflow.ShapeError, match="shares memory"):
        tempflow.ema_update([average.flatten()[:4]], [average.flatten()[2:]], 0.5)
    with pytest.raises(tempflow.InvalidValueError, match="average is int64, expected float32, float64"):
        tempflow.ema_update([torch.zeros(3, dtype=torch.int64)], [torch.ones(3)], 0.5)


def test_guidance_of_what_does_not_fit():
    c, u = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    with pytest.raises(tempflow.ShapeError, match=r"guided: conditional is \(2, 3, 4\), unconditional \(1, 3, 4\)"):
        tempflow.guided(c, u[:1], 4.0)
    with pytest.raises(tempflow.ShapeError, match=r"scale is \(3,\), expected one number, or one for each row of \(2, 3, 4\)"):
        tempflow.guided(c, u, torch.ones(3))
    with pytest.raises(tempflow.InvalidValueError, match=r"guide: scale\[1\] = inf"):
        tempflow.guided(c, u, torch.tensor([1.0, float("inf")]))
    with pytest.raises(tempflow.InvalidValueError, match="scale requires grad"):
        tempflow.guided(c, u, torch.tensor(2.0, requires_grad=True))
    with pytest.raises(tempflow.InvalidValueError, match="guide: conditional is int64, expected float32, float64"):
        tempflow.guided(c.long(), u.long(), 4.0)
    with pytest.raises(RuntimeError, match="ShapeError: guide: 12 elements per row are no tokens of 5 channels"):
        ops.guide(c, u, torch.ones(1, dtype=torch.float64), 5)
    with pytest.raises(RuntimeError, match="ShapeError: guide_gradient: conditional is 0 x 0, expected 2 x 12"):
        ops.guide_gradient(c, None, None, torch.ones(1, dtype=torch.float64), 4, True, True)


def test_messages_name_what_they_are_about(given):
    chain, ids, x, v = given
    with pytest.raises(tempflow.InvalidValueError, match="noise: dtype is int32, expected float32, float64, bfloat16 or float16"):
        tempflow.noise(ids, (4,), (0, 0), dtype=torch.int32)
    with pytest.raises(tempflow.InvalidValueError, match="offsets is int32, expected int64"):
        tempflow.log_prob(x, v, x, chain[2], offsets=torch.arange(4, dtype=torch.int32))
    nodes = tempflow.branch_plan(chain).nodes_table.clone()
    nodes[3, 0] = 9
    with pytest.raises(RuntimeError, match="node 3 has move 9"):
        ops.draw_ids(chain.table, nodes, [1], 0)
    assert "[1.0000, 0.9601, 0.9133]" in tempflow.sigmas.__doc__
    assert [round(sigma, 4) for sigma in tempflow.sigmas("sd3", 10)[:3].tolist()] == [1.0, 0.9601, 0.9133]


def test_no_rows_are_a_batch(given):
    chain, ids, x, v = given
    none, no_ids = x[:0], ids[:0]
    y, log_prob = tempflow.step(none, none, chain[2], no_ids, (0, 0))
    assert y.shape == tempflow.ode_step(none, none, chain[2]).shape == none.shape and log_prob.shape == (0,)
    trunk, branches, log_probs = tempflow.branch_step(none, none, chain[2], no_ids, (0, 0), 3, trunk_transitions=chain[2])
    assert trunk.shape == branches.shape == none.shape and log_probs.shape == (0,)
