# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Operators on CUDA tensors: the CPU's bits, torch's streams, graphs and memory."""

from dataclasses import replace

import pytest
import torch
from conftest import STORAGE, ids_of
from test_objectives import OBJECTIVES, problem

import tempflow
from tempflow._operators import has_cuda, ops

pytestmark = pytest.mark.skipif(not (has_cuda and torch.cuda.is_available()),
                                reason="no GPU, or a package built without a CUDA compiler")
SHAPE = (4, 30, 31)


def batch(states=torch.float32, velocities=torch.float32, rows=6, siblings=1, step=2):
    """On the CPU: transitions that were drawn with other velocities than the ones they are trained at."""
    chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
    ids = ids_of(rows, step)
    x = tempflow.noise(ids, SHAPE, (1, 0), dtype=states)
    v_old, change, v_ref = (tempflow.noise(ids, SHAPE, (k, 0), dtype=velocities) for k in (2, 3, 4))
    v = (v_old.double() + 1e-3 * change.double()).to(velocities)
    _, y, old = tempflow.branch_step(x, v_old, chain[step], ids, (5, 0), siblings)
    return chain, ids, x, v, y, v_ref, old


def close(on_gpu, on_cpu, bound=1e-14):
    return ((on_gpu.cpu() - on_cpu).abs() <= bound * (1 + on_cpu.abs())).all()


@pytest.mark.parametrize("states, velocities", STORAGE)
def test_steps_have_the_bits_of_the_cpu(states, velocities):
    chain, ids, x, v, _, _, _ = batch(states, velocities)
    assert torch.equal(tempflow.noise(ids, SHAPE, (1, 0), dtype=states, device="cuda").cpu(), x)
    transitions = chain.table[[0, 3, 3, 7, 1, 2]]
    for antithetic in (False, True):
        y, log_prob = tempflow.step(x, v, transitions, ids, (7, 1), antithetic=antithetic)
        y_gpu, log_prob_gpu = tempflow.step(x.cuda(), v.cuda(), transitions, ids, (7, 1), antithetic=antithetic)
        assert log_prob_gpu.is_cuda and torch.equal(y_gpu.cpu(), y) and close(log_prob_gpu, log_prob)
        assert torch.equal(tempflow.log_prob(x.cuda(), v.cuda(), y_gpu, transitions), log_prob_gpu)
        trunk, branches, log_probs = tempflow.branch_step(x, v, chain[2], ids, (7, 1), 4, trunk_transitions=chain[3],
                                                          antithetic=antithetic)
        on_gpu = tempflow.branch_step(x.cuda(), v.cuda(), chain[2], ids, (7, 1), 4, trunk_transitions=chain[3],
                                      antithetic=antithetic)
        assert torch.equal(on_gpu[0].cpu(), trunk) and torch.equal(on_gpu[1].cpu(), branches) and close(on_gpu[2], log_probs)
    assert torch.equal(tempflow.ode_step(x.cuda(), v.cuda(), chain[4]).cpu(), tempflow.ode_step(x, v, chain[4]))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("mask", [None, "shared", "of states"])
def test_objectives_and_two_calls_are_those_of_the_cpu(chain, objective, mask):
    on_cpu = problem(objective, chain, dtype=torch.float32, siblings=2, mask=mask)
    on_gpu = replace(on_cpu, **{name: None if tensor is None else tensor.cuda() for name, tensor in (
        (name, getattr(on_cpu, name)) for name in ("x", "y", "v", "v_old", "v_ref", "mask"))})
    results = []
    for of in (on_cpu, on_gpu):
        leaf = of.v.clone().requires_grad_()
        loss, rows = of.loss(leaf, objective)
        loss.backward()
        given = {"offsets": of.offsets, "mask": of.mask, "v_ref": of.v_ref, "v_old": of.v_old}
        sums = tempflow.policy_sums(of.v, of.x, of.y, of.transitions, mixture=getattr(objective, "mixture", 0.0), **given)
        _, factors = tempflow.policy_scores(sums, of.transitions, of.old, of.advantages, objective, weights=of.weights,
                                            offsets=of.offsets, terms=of.terms)
        gradient = tempflow.policy_gradient(of.v, of.x, of.y, of.transitions, factors, **given)
        assert (gradient - leaf.grad).abs().max() <= 1e-6 * leaf.grad.abs().max()
        results.append((loss.detach(), rows, sums, leaf.grad))
    for ours, theirs in zip(results[1], results[0]):
        assert ours.is_cuda and (ours.cpu() - theirs).abs().max() <= 1e-5 * (1 + theirs.abs().max())


@pytest.mark.parametrize("states, velocities", STORAGE)
@pytest.mark.parametrize("siblings", [1, 4])
@pytest.mark.parametrize("kl_beta", [0.0, 0.4])
def test_the_loss_is_that_of_the_cpu(states, velocities, siblings, kl_beta):
    chain, _, x, v, y, v_ref, old = batch(states, velocities, siblings=siblings)
    count = 6 * siblings
    arguments = {"advantages": torch.linspace(-7, 7, count).double(), "weights": torch.linspace(0.5, 1.5, count).double(),
                 "objective": tempflow.ClippedGRPO(clip=1e-3, kl_beta=kl_beta), "offsets": torch.arange(0, count + 1, siblings) if siblings > 1 else None}
    results = []
    for device in ("cpu", "cuda"):
        leaf = v.detach().to(device, copy=True).requires_grad_()
        loss, rows = tempflow.policy_loss_rows(leaf, x.to(device), y.to(device), chain[2], old.to(device),
                                               v_ref=v_ref.to(device) if kl_beta else None, **arguments)
        (loss * 0.5).backward()
        assert loss.device.type == rows.device.type == device
        results.append((loss.detach(), rows, leaf.grad, tempflow.statistics_of(rows, kl_beta=kl_beta).loss))
    (loss, rows, gradient, total), (loss_gpu, rows_gpu, gradient_gpu, total_gpu) = results
    assert close(loss_gpu, loss, 1e-12) and close(rows_gpu, rows, 1e-12) and abs(total - total_gpu) <= 1e-12 * (1 + abs(total))
    unit = {torch.float32: 2**-23, torch.float64: 1e-13, torch.bfloat16: 2**-8, torch.float16: 2**-10}[velocities]
    assert ((gradient_gpu.cpu() - gradient).abs() <= unit * gradient.abs()).all()
    assert (gradient != 0).any()


def test_on_policy_the_ratio_is_exactly_one():
    chain, ids, x, v, _, _, _ = batch()
    y, old = tempflow.step(x.cuda(), v.cuda(), chain[2], ids, (5, 0))
    for log_probs in (old, old.cpu()):
        _, rows = tempflow.policy_loss_rows(v.cuda(), x.cuda(), y, chain[2], log_probs, torch.ones(6).double())
        assert tempflow.statistics_of(rows).max_abs_log_ratio == 0


def halving_model(x, sigma, prompts):
    return x * torch.where(prompts % 2 == 0, 0.5, 0.25).reshape(-1, *[1] * (x.dim() - 1))


@pytest.mark.parametrize("plan_of", [
    lambda chain: tempflow.branch_plan(chain, seeds_per_prompt=2, explorations=3, finish_trunk=True),
    lambda chain: tempflow.flow_plan(chain, samples_per_prompt=4)])
def test_rollouts_and_updates_are_those_of_the_cpu(plan_of):
    plan = plan_of(tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7))
    rollouts = [tempflow.roll_out(halving_model, plan, [7, 4], (11, 3), shape=SHAPE, device=device, max_batch=5)
                for device in ("cpu", "cuda")]
    cpu, gpu = rollouts
    assert gpu.samples.is_cuda and torch.equal(gpu.samples.cpu(), cpu.samples) and torch.equal(gpu.states.cpu(), cpu.states)
    assert close(gpu.log_probs, cpu.log_probs)
    sums = []
    for rollout in rollouts:
        advantages = tempflow.group_advantages(rollout.samples.cpu().flatten(1).mean(1), rollout.groups("prompt"))
        total = torch.zeros(SHAPE, dtype=torch.float64)
        for each in tempflow.minibatches(rollout, advantages, torch.ones(10), size=7):
            v = halving_model(each.x, each.sigma, each.prompts).requires_grad_()
            loss, statistics = tempflow.policy_loss(v, each)
            loss.backward()
            assert statistics.max_abs_log_ratio == 0
            total += v.grad.double().sum(0).cpu()
        sums.append(total)
    assert torch.allclose(*sums, rtol=1e-6, atol=1e-12)
    assert tempflow.rescore(halving_model, tempflow.minibatches(gpu, advantages, torch.ones(10), size=3)).max_abs == 0


def test_operators_do_not_wait():
    chain, ids, x, v, y, _, old = batch()
    x, v, y, old = x.cuda(), v.cuda(), y.cuda(), old.cuda()
    advantages = torch.ones(6).double()
    for _ in range(2):  # kernels are loaded in the first
        torch.cuda.synchronize()
        torch.cuda._sleep(400_000_000)
        before = torch.cuda.Event()
        before.record()
        tempflow.step(x, v, chain[2], ids, (5, 0))
        tempflow.log_prob(x, v, y, chain[2])
        leaf = v.detach().requires_grad_()
        loss, _ = tempflow.policy_loss_rows(leaf, x, y, chain[2], old, advantages)
        loss.backward()
        waited = before.query()
    assert not waited
    torch.cuda.synchronize()


def test_operators_follow_the_current_stream():
    chain, ids, x, v, _, _, _ = batch()
    expected = tempflow.step(x, v, chain[2], ids, (5, 0))[0]
    x_gpu, v_gpu, side = x.cuda(), v.cuda(), torch.cuda.Stream()
    tempflow.step(x_gpu, v_gpu, chain[2], ids, (5, 0))  # kernels are loaded
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(400_000_000)
        later = x_gpu * 1  # in the side stream, after the wait
        y = tempflow.step(later, v_gpu, chain[2], ids, (5, 0))[0]
        assert not side.query()
    side.synchronize()
    assert torch.equal(y.cpu(), expected)


def test_a_training_step_is_captured_and_replayed():
    chain, ids, x, v, y, _, old = batch(siblings=3)
    x, v, y, old, advantages = x.cuda(), v.cuda(), y.cuda(), old.cuda(), torch.linspace(-2, 2, 18).double().cuda()
    offsets, weights = torch.arange(0, 19, 3), torch.ones(18).double().cuda()

    def training_step(leaf):
        z, _ = tempflow.step(x, leaf.detach(), chain[2], ids, (5, 0))
        loss, _ = tempflow.policy_loss_rows(leaf, x, y, chain[2], old, advantages, tempflow.ClippedGRPO(clip=0.5),
                                            weights=weights, offsets=offsets)
        (gradient,) = torch.autograd.grad(loss, leaf)
        return z, loss, gradient

    leaf = v.clone().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        training_step(leaf)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = training_step(leaf)
    for change in (1.0, 0.5):
        with torch.no_grad():
            leaf.mul_(change)
            advantages.mul_(change)
        graph.replay()
        for now, then in zip(captured, training_step(leaf)):
            assert torch.equal(now, then)


def test_many_calls_do_not_grow():
    chain, ids, x, v, y, _, old = batch()
    x, v, y = x.cuda(), v.cuda(), y.cuda()

    def call():
        leaf = v.detach().requires_grad_()
        tempflow.policy_loss_rows(leaf, x, y, chain[2], old, torch.ones(6).double())[0].backward()
        tempflow.step(x, v, chain[2], ids, (5, 0))
    call()
    before = torch.cuda.memory_allocated()
    for _ in range(2000):
        call()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before


def test_opcheck_and_compile():
    chain, ids, x, v, y, _, old = batch()
    x, v, y = x.cuda(), v.cuda().requires_grad_(), y.cuda()
    torch.library.opcheck(ops.step, (x, v.detach(), chain[2], ids, 5, 0, False, 0, None, True, "mean", "all"))
    torch.library.opcheck(ops.log_prob, (x, v, y, None, None, chain[2], "mean", "all"))
    ones = torch.ones(6).double()
    torch.library.opcheck(ops.guide, (v, x, ones.cuda(), 31))
    torch.library.opcheck(ops.policy_loss, (v, x, y, None, None, chain[2], old, ones, ones, None, 0, 0, False, 1e-4, 1e-4, 5.0,
                                            0.0, "transition_variance", "mean", "all", 0, False))

    def training_step(v, x, y, old):
        return tempflow.policy_loss_rows(v * 1.0, x, y, chain[2], old, ones)[0] * 2

    compiled = torch.compile(training_step, fullgraph=True)
    gradients = [torch.autograd.grad(step(v, x, y, old.cuda()), v)[0] for step in (training_step, compiled)]
    assert torch.equal(*gradients)


def test_an_average_of_weights_is_that_of_the_cpu():
    average, weights = torch.randn(10_001), torch.randn(10_001)
    on_gpu = average.cuda()
    tempflow.ema_update([average], [weights], 0.9)
    tempflow.ema_update([on_gpu], [weights.cuda()], 0.9)
    assert torch.equal(on_gpu.cpu(), average)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_guidance_and_its_gradient_have_the_bits_of_the_cpu(dtype):
    c, u, g = (torch.randn(3, 50, 64).to(dtype) for _ in range(3))
    scales = torch.tensor([4.0, 0.5, -1.0])
    for preserve_norm in (False, True):
        on_cpu, on_gpu = ([t.to(device, copy=True).requires_grad_() for t in (c, u)] for device in ("cpu", "cuda"))
        expected = tempflow.guided(*on_cpu, scales, preserve_norm=preserve_norm)
        expected.backward(g)
        for scale in (scales, scales.cuda()):
            v = tempflow.guided(*on_gpu, scale, preserve_norm=preserve_norm)
            gradients = torch.autograd.grad(v, on_gpu, g.cuda())
            assert torch.equal(v.cpu(), expected)
            assert all(torch.equal(found.cpu(), true.grad) for found, true in zip(gradients, on_cpu))


def test_tensors_of_two_devices_are_refused():
    chain, ids, x, v, y, _, old = batch()
    for x_on, v_on in (("cuda", "cpu"), ("cpu", "cuda")):
        with pytest.raises(tempflow.BackendMemoryError):
            tempflow.step(x.to(x_on), v.to(v_on), chain[2], ids, (5, 0))
    with pytest.raises(tempflow.BackendMemoryError, match="y is on the CPU, the first batch on cuda:0"):
        tempflow.log_prob(x.cuda(), v.cuda(), y, chain[2])
    with pytest.raises(tempflow.BackendMemoryError, match="ids lies on a device"):
        tempflow.step(x.cuda(), v.cuda(), chain[2], ids.cuda(), (5, 0))
    with pytest.raises(tempflow.ShapeError):
        tempflow.step(x.cuda(), v.cuda()[:2], chain[2], ids, (5, 0))
    with pytest.raises(tempflow.InvalidValueError):
        tempflow.policy_loss_rows(v.cuda(), x.cuda(), y.cuda(), chain[2], old, torch.full((6,), float("nan")).double())
    torch.cuda.synchronize()  # nothing is broken


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_tensors_on_another_device_than_the_current_one():
    chain, ids, x, v, _, _, _ = batch()
    y, _ = tempflow.step(x.to("cuda:1"), v.to("cuda:1"), chain[2], ids, (5, 0))
    assert y.device.index == 1 and torch.equal(y.cpu(), tempflow.step(x, v, chain[2], ids, (5, 0))[0])
    with pytest.raises(tempflow.BackendMemoryError, match="v is on cuda:1"):
        tempflow.step(x.to("cuda:0"), v.to("cuda:1"), chain[2], ids, (5, 0))
