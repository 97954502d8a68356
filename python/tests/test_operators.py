# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Operators against the published formulas, and under torch's own checks."""

import pytest
import torch
from conftest import STORAGE, ids_of, log_prob_of, loss_of

import tempflow
from tempflow._operators import ops

SHAPE = (4, 6, 7)


def batch(rows, states, velocities, chain, step=2):
    """A batch of transitions that were drawn with other velocities than the ones it is trained at."""
    ids = ids_of(rows)
    x = tempflow.noise(ids, SHAPE, (1, 0), dtype=states)
    v, v_old, v_ref = (tempflow.noise(ids, SHAPE, (k, 0), dtype=velocities) for k in (2, 3, 4))
    v = (v_old.double() + 1e-3 * v.double()).to(velocities)
    y, old = tempflow.step(x, v_old, chain[step], ids_of(rows, step), (5, 0))
    return x, v, y, v_ref, old


@pytest.mark.parametrize("states, velocities", STORAGE)
def test_step_is_the_formula_and_its_log_prob_has_its_bits(chain, states, velocities):
    x, v, _, _, _ = batch(5, states, velocities, chain)
    transitions = chain.table[[0, 3, 3, 7, 1]]
    ids = ids_of(5, 3)
    y, log_prob = tempflow.step(x, v, transitions, ids, (9, 4))
    assert y.dtype == states and y.shape == x.shape and log_prob.dtype == torch.float64
    z = tempflow.noise(ids, SHAPE, (9, 4)).double()
    alpha, beta, std = (transitions[:, i].reshape(-1, 1, 1, 1) for i in range(3))
    mean = alpha * x.double() + beta * v.double()
    bound = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2**-8, torch.float16: 2**-10}[states]
    fp32_noise = 0 if states != torch.float64 else 1e-14
    expected = mean + std * z
    assert ((y.double() - expected).abs() <= bound * (1 + expected.abs()) + fp32_noise).all()
    assert torch.equal(log_prob, tempflow.log_prob(x, v, y, transitions))
    assert (log_prob - log_prob_of(x, v, y, transitions)).abs().max() < 1e-5
    euler = tempflow.ode_step(x, v, transitions).double()
    assert ((euler - mean).abs() <= bound * (1 + mean.abs())).all()


@pytest.mark.parametrize("states, velocities", STORAGE)
def test_branch_step_has_the_bits_of_its_parts(chain, states, velocities):
    x, v, _, _, _ = batch(3, states, velocities, chain)
    ids = ids_of(3, 2)
    trunk, branches, log_probs = tempflow.branch_step(x, v, chain[2], ids, (7, 1), 4, trunk_transitions=chain[3])
    assert torch.equal(trunk, tempflow.ode_step(x, v, chain[3]))
    for k in range(4):
        own = ids.clone()
        own[:, 3] += k
        y, log_prob = tempflow.step(x, v, chain[2], own, (7, 1))
        assert torch.equal(branches[k::4], y) and torch.equal(log_probs[k::4], log_prob)
    none, alone, _ = tempflow.branch_step(x, v, chain[2], ids, (7, 1), 4)
    assert none is None and torch.equal(alone, branches)


@pytest.mark.parametrize("states, velocities", STORAGE)
@pytest.mark.parametrize("kl_beta", [0.0, 0.4])
def test_loss_and_gradient_are_those_of_the_formulas(chain, states, velocities, kl_beta):
    rows = 12
    x, v, y, v_ref, old = batch(rows, states, velocities, chain)
    old = old + 1e-4 * torch.randn(rows, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    advantages = torch.linspace(-7, 7, rows, dtype=torch.float64)
    weights = torch.linspace(0.5, 1.5, rows, dtype=torch.float64)
    transitions = chain[2].expand(rows, 7).contiguous()
    v.requires_grad_()
    loss, rows_of_loss = tempflow.policy_loss_rows(v, x, y, transitions, old, advantages, weights=weights,
                                                   objective=tempflow.ClippedGRPO(clip=1e-4, kl_beta=kl_beta),
                                                   v_ref=v_ref if kl_beta else None)
    exact = v.detach().double().requires_grad_()
    expected = loss_of(x, exact, y, v_ref if kl_beta else None, transitions, old, advantages, weights, 1e-4, kl_beta)
    expected.backward()
    loss.backward()
    assert abs(loss.item() - expected.item()) < 1e-6 * (1 + abs(expected.item()))
    bound = {torch.float32: 2e-6, torch.float64: 1e-12, torch.bfloat16: 4e-3, torch.float16: 2e-3}[velocities]
    assert (v.grad.double() - exact.grad).abs().max() <= bound * exact.grad.abs().max()
    statistics = tempflow.statistics_of(rows_of_loss, kl_beta=kl_beta)
    assert statistics.rows == rows and abs(statistics.loss - loss.item()) < 1e-12 and statistics.non_finite_rows == 0


def test_on_policy_the_ratio_is_exactly_one(chain):
    x, v, _, _, _ = batch(6, torch.float32, torch.bfloat16, chain)
    y, old = tempflow.step(x, v, chain[4], ids_of(6, 4), (5, 0))
    _, rows = tempflow.policy_loss_rows(v, x, y, chain[4], old, torch.ones(6, dtype=torch.float64))
    assert tempflow.statistics_of(rows).max_abs_log_ratio == 0


def test_siblings_share_a_velocity(chain):
    x, v, _, _, _ = batch(3, torch.float32, torch.float32, chain)
    _, y, old = tempflow.branch_step(x, v, chain[1], ids_of(3, 1), (2, 2), 4)
    advantages = torch.arange(12, dtype=torch.float64) - 5
    offsets = torch.tensor([0, 4, 8, 12])
    shared, alone = v.clone().requires_grad_(), v.repeat_interleave(4, 0).requires_grad_()
    tempflow.policy_loss_rows(shared, x, y, chain[1], old, advantages, offsets=offsets)[0].backward()
    tempflow.policy_loss_rows(alone, x.repeat_interleave(4, 0), y, chain[1], old, advantages)[0].backward()
    summed = alone.grad.reshape(3, 4, *SHAPE).sum(1)
    assert torch.allclose(shared.grad, summed, rtol=1e-4, atol=1e-9)
    assert torch.equal(tempflow.log_prob(x, v, y, chain[1], offsets=offsets), old)


def test_log_prob_is_differentiable_in_v(chain):
    x, v, y, _, _ = batch(2, torch.float64, torch.float64, chain)
    x, v, y = x[:, :1, :2, :3].contiguous(), v[:, :1, :2, :3].contiguous().requires_grad_(), y[:, :1, :2, :3].contiguous()
    assert torch.autograd.gradcheck(lambda v: tempflow.log_prob(x, v, y, chain[2]), v)
    old = tempflow.log_prob(x, v.detach(), y, chain[2]) + 0.02

    def loss(v):
        return tempflow.policy_loss_rows(v, x, y, chain[2], old, torch.tensor([2.0, -1.0]).double(),
                                         tempflow.ClippedGRPO(clip=0.5, kl_beta=0.3), v_ref=x)[0]
    assert torch.autograd.gradcheck(loss, v)


def test_the_upstream_gradient_scales(chain):
    x, v, y, _, old = batch(4, torch.float32, torch.float32, chain)
    advantages = torch.tensor([1.0, -1.0, 2.0, 0.5]).double()
    plain, scaled = v.clone().requires_grad_(), v.clone().requires_grad_()
    tempflow.policy_loss_rows(plain, x, y, chain[2], old, advantages, tempflow.ClippedGRPO(clip=0.2))[0].backward()
    loss = tempflow.policy_loss_rows(scaled, x, y, chain[2], old, advantages, tempflow.ClippedGRPO(clip=0.2))[0]
    (loss * 8).backward(retain_graph=True)
    assert torch.equal(scaled.grad, plain.grad * 8)
    loss.backward()  # the graph was retained
    assert torch.equal(scaled.grad, plain.grad * 9)


def test_rows_need_not_lie_together(chain):
    x, v, y, _, old = batch(4, torch.float32, torch.float32, chain)
    apart = torch.randn(4, 9, 6, 7)[:, :4]
    apart.copy_(x)
    assert not apart.is_contiguous()
    permuted = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for other in (apart, permuted, torch._neg_view(-x)):
        assert torch.equal(tempflow.log_prob(other, v, y, chain[2]), tempflow.log_prob(x, v, y, chain[2]))
    same = x[:1].expand(4, *SHAPE)
    assert torch.equal(tempflow.ode_step(same, v, chain[2]), tempflow.ode_step(same.contiguous(), v, chain[2]))


def test_group_advantages_ema_and_drawn_again(chain):
    rewards = torch.tensor([1.0, 3.0, 2.0, 2.0, 5.0, float("nan")])
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    with pytest.raises(tempflow.InvalidValueError, match=r"rewards\[5\] = nan"):
        tempflow.group_advantages(rewards, groups)
    result = tempflow.group_advantages(rewards, groups, not_finite="exclude")
    assert torch.allclose(result.values[:2], torch.tensor([-1.0, 1.0]).double() / 1.0001)
    assert result.values[2:].eq(0).all() and result.excluded == [5]
    assert result.statistics.samples == 6 and result.statistics.zero_std_groups == 1 and result.statistics.dead_groups == 2
    assert isinstance(result.statistics.groups, int)
    assert tempflow.dead_group_samples(result, groups) == [2, 3, 4, 5]
    average, weights = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 6.0])
    tempflow.ema_update([average], [weights], 0.75)
    assert torch.allclose(average, torch.tensor([1.5, 3.0]))
    assert tempflow.ema_decay(0) is None and tempflow.ema_decay(7) == min(8 / 17, 0.9)

    x, v, _, _, _ = batch(3, torch.float32, torch.float32, chain)
    ids = ids_of(3, 2)
    y, old = tempflow.step(x, v, chain[2], ids, (5, 6))
    advantages = torch.tensor([1.0, -1.0, 2.0]).double()
    stored, drawn = v.clone().requires_grad_(), v.clone().requires_grad_()
    tempflow.policy_loss_rows(stored, x, y, chain[2], old, advantages)[0].backward()
    tempflow.policy_loss_rows(drawn, x, None, chain[2], old, advantages, drawn=(ids, (5, 6), False))[0].backward()
    assert torch.allclose(stored.grad, drawn.grad, rtol=1e-3, atol=1e-6)


def guided_by_torch(c, u, scale, preserve_norm):
    """The text of diffusers' QwenImagePipeline, and before it that of every pipeline."""
    v = u + scale * (c - u)
    return v * (c.norm(dim=-1, keepdim=True) / v.norm(dim=-1, keepdim=True)) if preserve_norm else v


@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 2**-8),
                                          (torch.float16, 2**-10)])
@pytest.mark.parametrize("preserve_norm", [False, True])
def test_guidance_and_its_gradient_are_those_of_torch(dtype, bound, preserve_norm):
    c, u, g = (torch.randn(3, 70, 64, generator=torch.Generator().manual_seed(k)).to(dtype) for k in range(3))
    for scale in (4.5, torch.tensor([4.0, 0.5, -1.0])):
        ours, exact = ([t.to(kind, copy=True).requires_grad_() for t in (c, u)] for kind in (dtype, torch.float64))
        v = tempflow.guided(*ours, scale, preserve_norm=preserve_norm)
        factor = scale if isinstance(scale, float) else scale.double().reshape(3, 1, 1)
        expected = guided_by_torch(*exact, factor, preserve_norm)
        assert v.dtype == dtype and (v.double() - expected).abs().max() <= bound * expected.abs().max()
        v.backward(g)
        expected.backward(g.double())
        for found, true in zip(ours, exact):
            assert found.grad.dtype == dtype and (found.grad.double() - true.grad).abs().max() <= bound * true.grad.abs().max()


def test_guidance():
    c, u = (torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.allclose(tempflow.guided(c, u, 4.0), 4 * c - 3 * u)
    kept = tempflow.guided(c, u, 4.0, preserve_norm=True)
    assert torch.allclose(kept.norm(dim=-1), c.norm(dim=-1)) and torch.equal(tempflow.guided(c, u, 1.0), u + (c - u))
    for preserve_norm in (False, True):
        for scale in (2.0, torch.tensor([2.0, 0.25])):
            assert torch.autograd.gradcheck(lambda c, u: tempflow.guided(c, u, scale, preserve_norm=preserve_norm), (c, u))
        held = torch.autograd.grad(tempflow.guided(c, u.detach(), 2.0, preserve_norm=preserve_norm).square().sum(), c)[0]
        both = torch.autograd.grad(tempflow.guided(c, u, 2.0, preserve_norm=preserve_norm).square().sum(), (c, u))
        assert torch.equal(held, both[0])
        flat = tempflow.guided(c[0, 0], u[0, 0], 2.0, preserve_norm=preserve_norm)
        assert torch.equal(flat, tempflow.guided(c, u, 2.0, preserve_norm=preserve_norm)[0, 0])
        apart = c.detach().transpose(0, 1).contiguous().transpose(0, 1)
        assert torch.equal(tempflow.guided(apart, u, 2.0, preserve_norm=preserve_norm),
                           tempflow.guided(c, u, 2.0, preserve_norm=preserve_norm))
    mixed = tempflow.guided(c.float(), u, 4.0)
    assert mixed.dtype == torch.float64
    with pytest.raises(tempflow.ShapeError):
        tempflow.guided(c, u[:1], 4.0)


def test_guidance_of_zeros_is_zero():
    c, u = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    c[0, 0], u[1, 1] = 0, 2 * c[1, 1]  # |c| = 0; |2 c - u| = 0
    c.requires_grad_(), u.requires_grad_()
    v = tempflow.guided(c, u, 2.0, preserve_norm=True)
    v.sum().backward()
    for result in (v, c.grad, u.grad):
        assert result.isfinite().all() and (result[0, 0] == 0).all() and (result[1, 1] == 0).all()
        assert (result[0, 1] != 0).all()


def arguments(chain):
    x, v, y, v_ref, old = batch(4, torch.float32, torch.float32, chain)
    ids, key = ids_of(4, 2), (5, 0)
    t = chain[2].clone()
    v_grad = v.clone().requires_grad_()
    numbers = torch.tensor([1.0, -1.0, 2.0, 0.5]).double()
    mask = torch.arange(x[0].numel()).reshape(SHAPE) % 3 != 0
    loss = (v_grad, x, y, v_ref, None, mask, None, t, old, numbers, numbers.abs(), None, 0, 0, False,
            *tempflow.ClippedGRPO(clip=0.1, kl_beta=0.1).parameters(), "mean", "all", 0, False)
    return {
        "fill_noise": (torch.empty_like(x), ids, 5, 0, False, 4),
        "step": (x, v, t, ids, *key, False, 0, mask, True, "mean", "all"),
        "ode_step": (x, v, t, None),
        "branch_step": (x, v, t, t, ids, 3, *key, False, 0, None, "mean", "all"),
        "log_prob": (x, v_grad, y, mask, None, t, "mean", "all"),
        "log_prob_gradient": (v, x, y, mask, None, t, numbers, "mean", "all"),
        "policy_loss": loss,
        "policy_statistics": (torch.rand(4, 9).double(), 0.1, 4.0),
        "clipped_surrogate": (numbers.clone().requires_grad_(), numbers, numbers, numbers.abs(), 0.1, 0.1, 5.0),
        "ema_update": (torch.rand(5), torch.rand(5), 0.5),
        "guide": (v_grad, x.clone().requires_grad_(), numbers, 7),
        "guide_gradient": (y, v, x, numbers, 7, True, False),
    }


@pytest.mark.parametrize("name", ["fill_noise", "step", "ode_step", "branch_step", "log_prob", "log_prob_gradient",
                                  "policy_loss", "policy_statistics", "clipped_surrogate", "ema_update", "guide",
                                  "guide_gradient"])
def test_opcheck(chain, name):
    torch.library.opcheck(getattr(ops, name).default, arguments(chain)[name])


def test_a_training_step_compiles_and_exports_whole(chain):
    x, v, y, _, old = batch(4, torch.float32, torch.float32, chain)
    x, y = x.flatten(1), y.flatten(1)
    advantages = torch.tensor([1.0, -1.0, 2.0, 0.5]).double()

    class Train(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(x.shape[1], x.shape[1])

        def forward(self, x, y, old, advantages, t):
            v = tempflow.guided(self.layer(x), self.layer(y), 1.5, preserve_norm=True)
            return tempflow.policy_loss_rows(v, x, y, t, old, advantages, tempflow.ClippedGRPO(clip=0.2))[0]

    eager, compiled = Train(), Train()
    given = (x, y, old, advantages, chain[2].clone())
    losses = [eager(*given), torch.compile(compiled, fullgraph=True, backend="aot_eager")(*given)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses) and torch.equal(eager.layer.weight.grad, compiled.layer.weight.grad)
    exported = torch.export.export(Train(), given)
    assert torch.equal(exported.module()(*given), losses[0])


def test_many_calls_take_no_memory(chain):
    import resource

    x, v, y, _, old = batch(4, torch.float32, torch.float32, chain)
    advantages = torch.ones(4, dtype=torch.float64)

    def calls(count):
        for _ in range(count):
            leaf = v.detach().requires_grad_()
            tempflow.policy_loss_rows(leaf, x, y, chain[2], old, advantages)[0].backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(1000)
    assert calls(10000) - before < 2000  # kilobytes: 10,000 kept gradients would be 27,000
