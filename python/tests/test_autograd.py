# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What autograd may ask of the gradients: once, scaled by anything, and never a wrong number in silence."""

import pytest
import torch
from conftest import ids_of

import tempflow

SHAPE = (2, 5)
WIDE = tempflow.ClippedGRPO(clip=0.5)


@pytest.fixture
def given(chain):
    ids = ids_of(4, 2)
    x, v = (tempflow.noise(ids, SHAPE, (k, 0)) for k in (1, 2))
    y, old = tempflow.step(x, v, chain[2], ids, (0, 0))
    return x, v, y, chain[2], old, torch.tensor([1.0, -1.0, 2.0, 0.5]).double()


def losses(x, y, t, old, advantages):
    return {"policy_loss": lambda v: tempflow.policy_loss_rows(v, x, y, t, old, advantages, WIDE)[0],
            "log_prob": lambda v: tempflow.log_prob(x, v, y, t).sum(),
            "guided": lambda v: tempflow.guided(v, x, 4.0, preserve_norm=True).square().sum(),
            "clipped_loss": lambda v: tempflow.clipped_loss((v - x).flatten(1).mean(1), old.float() * 0, advantages, 5.0)}


@pytest.mark.parametrize("name", ["policy_loss", "log_prob", "clipped_loss", "guided"])
def test_a_gradient_that_is_differentiated_raises(given, name):
    x, v, y, *others = given
    loss_of = losses(x, y, *others)[name]
    leaf = v.clone().requires_grad_()
    with pytest.raises(tempflow.InvalidValueError, match="differentiable once"):
        torch.autograd.grad(loss_of(leaf), leaf, create_graph=True)
    with pytest.raises(tempflow.InvalidValueError, match="differentiable once"):
        torch.autograd.functional.hvp(loss_of, v, v)
    loss_of(leaf).backward()
    assert leaf.grad.abs().max() > 0


@pytest.mark.parametrize("velocities", [torch.float32, torch.bfloat16, torch.float16])
def test_the_factor_of_a_gradient_is_not_rounded_to_16_bits(given, velocities):
    x, v, y, t, old, advantages = given
    gradients = []
    for factor in (1.0, 1 / 3):
        leaf = v.to(velocities, copy=True).requires_grad_()
        (tempflow.policy_loss_rows(leaf, x, y, t, old, advantages, WIDE)[0] * factor).backward()
        gradients.append(leaf.grad.double())
    whole, third = gradients
    unit = {torch.float32: 2**-24, torch.bfloat16: 2**-9, torch.float16: 2**-11}[velocities]
    assert ((third - whole / 3).abs() <= 2 * unit * (whole / 3).abs()).all()
    assert abs(third.sum() / (whole.sum() / 3) - 1) < unit  # on average nothing is lost
    assert (3 * third.abs().sum() / whole.abs().sum() - 1).abs() < unit / 2


def test_offsets_that_change_after_the_forward_pass_are_noticed(given):
    x, v, y, t, _, _ = given
    offsets, leaf = torch.tensor([0, 1, 2, 3, 4]), v.clone().requires_grad_()
    log_prob = tempflow.log_prob(x, leaf, y, t, offsets=offsets)
    offsets.copy_(torch.tensor([0, 0, 0, 0, 4]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        log_prob.sum().backward()


def test_gradients_of_several_losses_at_once(given):
    x, v, y, t, old, advantages = given
    leaf = v.clone().requires_grad_()
    loss, _ = tempflow.policy_loss_rows(leaf, x, y, t, old, advantages, WIDE)
    factors = torch.tensor([1.0, 2.0, -0.5]).double()
    many, = torch.autograd.grad(loss, leaf, factors, is_grads_batched=True, retain_graph=True)
    one, = torch.autograd.grad(loss, leaf)
    assert torch.allclose(many, factors.float().reshape(3, 1, 1, 1) * one)


@pytest.mark.parametrize("siblings", [1, 2])
@pytest.mark.parametrize("upstream", [float("inf"), float("nan")])
def test_what_is_not_finite_reaches_the_rows_it_belongs_to(given, siblings, upstream):
    x, v, y, t, _, _ = given
    x, v = x[:4 // siblings], v[:4 // siblings]
    offsets = torch.arange(0, 5, siblings) if siblings > 1 else None
    leaf, plain = v.clone().requires_grad_(), v.clone().requires_grad_()
    factors = torch.tensor([1.0, -2.0, 3.0, upstream]).double()
    tempflow.log_prob(x, plain, y, t, offsets=offsets).backward(torch.tensor([1.0, -2.0, 3.0, 0.0]).double())
    tempflow.log_prob(x, leaf, y, t, offsets=offsets).backward(factors)
    assert not leaf.grad[-1].isfinite().any() and torch.equal(leaf.grad[:-1], plain.grad[:-1])
    y = y.clone()
    y[3, 0, 0] = float("nan")  # a row whose own log-prob is NaN
    leaf = v.clone().requires_grad_()
    tempflow.log_prob(x, leaf, y, t, offsets=offsets).backward(torch.tensor([1.0, -2.0, 3.0, 1.0]).double())
    assert leaf.grad[-1].isnan().all() and torch.equal(leaf.grad[:-1], plain.grad[:-1])


def test_a_clipped_loss_that_is_not_finite_has_no_finite_gradient():
    log_prob = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    loss = tempflow.clipped_loss(log_prob, torch.zeros(3).double(), torch.tensor([1.0, float("nan"), -1.0]))
    loss.backward()
    assert loss.isnan() and log_prob.grad.isfinite().tolist() == [True, False, True]


def test_an_average_that_a_graph_saved_is_not_changed_in_silence():
    parameter, average = torch.ones(3, requires_grad=True), torch.ones(3)
    product = (average * parameter).sum()
    tempflow.ema_update([average], [torch.zeros(3)], 0.5)
    assert torch.equal(average, torch.full((3,), 0.5))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    with torch.inference_mode():
        kept = torch.ones(3)
        tempflow.ema_update([kept], [torch.zeros(3)], 0.5)
    assert torch.equal(kept, torch.full((3,), 0.5))


def test_an_average_is_updated_in_a_compiled_function():
    def update(average, weights):
        tempflow.ema_update([average], [weights], 0.5)
        return average * 2
    average = torch.ones(3)
    doubled = torch.compile(update, fullgraph=True, backend="aot_eager")(average, torch.zeros(3))
    assert torch.equal(average, torch.full((3,), 0.5)) and torch.equal(doubled, torch.ones(3))


def test_log_probs_compile_with_siblings(given):
    x, v, y, t, old, advantages = given
    offsets = torch.tensor([0, 2, 4])

    def loss_of(v, x, y, offsets):
        return tempflow.clipped_loss(tempflow.log_prob(x, v, y, t, offsets=offsets), old, advantages, 0.5)
    leaves = [v[:2].clone().requires_grad_() for _ in range(2)]
    for leaf, call in zip(leaves, (loss_of, torch.compile(loss_of, fullgraph=True, backend="aot_eager"))):
        call(leaf, x[:2], y, offsets).backward()
    assert torch.equal(leaves[0].grad, leaves[1].grad) and leaves[0].grad.abs().max() > 0
