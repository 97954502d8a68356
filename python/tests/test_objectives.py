# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Every objective against the text of its publication, in PyTorch and float64, and under autograd's own checks."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from conftest import ids_of, log_prob_of

import tempflow
from tempflow._operators import ops

SHAPE = (2, 3, 2)
FINISHED = (tempflow.DiffusionNFT, tempflow.AdvantageWeightedMatching, tempflow.PreferencePairs)
OBJECTIVES = [tempflow.ClippedGRPO(clip=0.5, kl_beta=0.2), tempflow.DualClippedGRPO(clip=0.5, max_ratio=1.6, kl_beta=0.2),
              tempflow.GRPOGuard(clip=0.5), tempflow.FlowDPPO(divergence_bound=1e-4, kl_beta=0.1),
              tempflow.DiffusionNFT(mixture=0.5, kl_beta=0.3),
              *(tempflow.AdvantageWeightedMatching(clip=0.5, weight=weight, kl_beta=0.2)
                for weight in ("uniform", "time", "time_squared", "huber", "quartic_root"))]
of_each = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{type(o).__name__}-{getattr(o, 'weight', '')}".strip("-"))


@dataclass
class Problem:
    """States and transitions that were drawn, or finished samples that were noised again, with v_old."""

    x: torch.Tensor
    y: torch.Tensor
    v: torch.Tensor
    v_old: torch.Tensor
    v_ref: torch.Tensor
    transitions: torch.Tensor
    old: torch.Tensor | None
    advantages: torch.Tensor
    weights: torch.Tensor
    terms: str = "all"
    offsets: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def loss(self, v, objective):
        return tempflow.policy_loss_rows(
            v, self.x, self.y, self.transitions, self.old, self.advantages, objective, weights=self.weights, offsets=self.offsets,
            mask=self.mask, v_ref=self.v_ref, v_old=self.v_old, terms=self.terms)

    @property
    def counted(self):
        """1 for each element of a state that counts."""
        counted = torch.ones_like(self.x) if self.mask is None else (self.mask != 0).double().expand(self.x.shape)
        return counted.double()

    def mean(self, values):
        """Over the elements of each row that count."""
        counted = self.by_row(self.counted).flatten(1)
        return (values.flatten(1) * counted).sum(1) / counted.sum(1)

    def by_row(self, of_states):
        """What belongs to states, for each row."""
        return of_states if self.offsets is None else of_states.repeat_interleave(self.offsets.diff(), 0)


def mask_of(kind):
    if kind is None:
        return None
    mask = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1)) < 0.7
    return {"shared": mask[0], "of states": mask, "bytes": mask[:1].to(torch.uint8) * 7}[kind]


def problem(objective, chain, *, dtype=torch.float64, siblings=1, mask=None, far=0.3):
    finished, states = isinstance(objective, FINISHED), 3
    rows = states * siblings
    ids = ids_of(states)
    v_old, v_ref, apart = (tempflow.noise(ids, SHAPE, (k, 0), dtype=dtype) for k in (2, 3, 4))
    offsets = torch.arange(0, rows + 1, siblings) if siblings > 1 else None
    mask, terms = mask_of(mask), "all"
    if finished:
        t = torch.tensor([0.9, 0.5, 0.2])
        y = tempflow.noise(ids_of(rows, 7), SHAPE, (5, 0), dtype=dtype)
        x = tempflow.noised(y[::siblings].contiguous(), t, ids, (1, 0))
        transitions, old = tempflow.clean_transitions(t), None
        if isinstance(objective, tempflow.AdvantageWeightedMatching):
            terms = "squared_error"
            old = tempflow.log_prob(x, v_old, y, transitions, offsets=offsets, mask=mask, terms=terms)
    else:
        x = tempflow.noise(ids, SHAPE, (1, 0), dtype=dtype)
        transitions = chain.table[[1, 2, 4]]
        _, y, _ = tempflow.branch_step(x, v_old, transitions, ids, (5, 0), siblings)
        old = tempflow.log_prob(x, v_old, y, transitions, offsets=offsets, mask=mask)
    advantages = torch.linspace(-1.5, 2, rows, dtype=torch.float64)
    return Problem(x, y, (v_old.double() + far * apart.double()).to(dtype), v_old, v_ref, transitions, old, advantages,
                   torch.linspace(0.5, 1.5, rows, dtype=torch.float64), terms, offsets, mask)


def published(of, v, objective):
    """The loss by the text of each publication: its mean over rows."""
    v, v_old, v_ref, x = (of.by_row(t.double()) for t in (v, of.v_old, of.v_ref, of.x))
    y, transitions = of.y.double(), of.transitions if of.offsets is None else of.transitions.repeat_interleave(of.offsets.diff(), 0)
    alpha, beta, std, sigma = (transitions[:, i].reshape(-1, 1, 1, 1) for i in range(4))
    mu, mu_old = alpha * x + beta * v, alpha * x + beta * v_old
    a = of.advantages.clamp(-5, 5)

    def clipped(ratio):
        low, high = (objective.clip,) * 2 if isinstance(objective.clip, float) else objective.clip
        return torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))

    match type(objective).__name__:
        case "ClippedGRPO" | "DualClippedGRPO" | "GRPOGuard" | "FlowDPPO":
            log_ratio = of.mean(-(y - mu)**2 / (2 * std**2)) - of.mean(-(y - mu_old)**2 / (2 * std**2))
            divergence = of.mean((mu - mu_old)**2 / (2 * std**2))
            kl = of.mean((beta * (v - v_ref))**2 / (2 * std**2))
            ratio = log_ratio.exp()
            if isinstance(objective, tempflow.GRPOGuard):  # verl-omni: ratio_mean_bias, times sqrt_dt std
                policy = clipped((std.flatten() * (log_ratio + divergence)).exp())
            elif isinstance(objective, tempflow.FlowDPPO):  # verl-omni: kl mask
                leaves = ((a > 0) & (ratio > 1)) | ((a < 0) & (ratio < 1))
                policy = torch.where((divergence >= objective.divergence_bound) & leaves, 0.0, -a * ratio)
            else:
                policy = clipped(ratio)
                if isinstance(objective, tempflow.DualClippedGRPO):
                    policy = torch.where(a < 0, torch.minimum(policy, -a * objective.max_ratio), policy)
        case "DiffusionNFT":  # scripts/train_nft_sd3.py
            b, t = objective.mixture, sigma
            r = (a / objective.advantage_clip) / 2 + 0.5
            positive, negative = b * v + (1 - b) * v_old, (1 + b) * v_old - b * v
            losses = []
            for prediction in (x - t * positive, x - t * negative):
                weight = of.mean((prediction - y).abs()).detach().clip(min=objective.min_weight)
                losses.append(of.mean((prediction - y)**2) / weight)
            policy = (r * losses[0] / b + (1 - r) * losses[1] / b) * objective.advantage_clip
            kl = of.mean((v - v_ref)**2)
        case "AdvantageWeightedMatching":  # Flow-Factory, trainers/awm.py
            t = sigma.flatten()

            def log_p(v):
                m = of.mean((v - (x - y) / sigma)**2)  # z - x0 = (x_t - x0) / t
                return {"uniform": -m, "time": -t * m, "time_squared": -t**2 * m,
                        "huber": -t * ((m + 1e-10).sqrt() - 1e-5),
                        "quartic_root": -t * ((m + 1e-10)**0.25 - 1e-10**0.25) / 0.25}[objective.weight]
            policy = clipped((log_p(v) - log_p(v_old)).exp())
            kl = of.mean((v - v_ref)**2)
    return (of.weights * policy + objective.kl_beta * kl).mean()


@of_each
@pytest.mark.parametrize("siblings", [1, 2])
@pytest.mark.parametrize("mask", [None, "shared", "of states", "bytes"])
def test_losses_are_those_of_the_publications(chain, objective, siblings, mask):
    of = problem(objective, chain, siblings=siblings, mask=mask)
    ours, theirs = (of.v.clone().requires_grad_() for _ in range(2))
    loss, rows = of.loss(ours, objective)
    expected = published(of, theirs, objective)
    loss.backward()
    expected.backward()
    assert abs(loss.item() - expected.item()) < 1e-10 * (1 + abs(expected.item()))
    assert theirs.grad.abs().max() > 0
    assert (ours.grad - theirs.grad).abs().max() < 1e-10 * theirs.grad.abs().max()
    assert (ours.grad[of.counted == 0] == 0).all()
    statistics = tempflow.statistics_of(rows, kl_beta=objective.kl_beta)
    assert statistics.rows == 3 * siblings and abs(statistics.loss - loss.item()) < 1e-12


@of_each
@pytest.mark.parametrize("dtype, velocities", [(torch.float32, torch.float32), (torch.float32, torch.bfloat16),
                                               (torch.float16, torch.float16)])
def test_gradients_in_other_types(chain, objective, dtype, velocities):
    of = problem(objective, chain, dtype=dtype, siblings=2, mask="shared")
    of = replace(of, v=of.v.to(velocities), v_old=of.v_old.to(velocities), v_ref=of.v_ref.to(velocities))
    if of.old is not None:
        of.old = tempflow.log_prob(of.x, of.v_old, of.y, of.transitions, offsets=of.offsets, mask=of.mask, terms=of.terms)
    ours, theirs = of.v.clone().requires_grad_(), of.v.double().requires_grad_()
    of.loss(ours, objective)[0].backward()
    published(of, theirs, objective).backward()
    bound = {torch.float32: 2e-5, torch.bfloat16: 8e-3, torch.float16: 4e-3}[velocities]
    assert (ours.grad.double() - theirs.grad).abs().max() <= bound * theirs.grad.abs().max()


@of_each
def test_gradcheck(chain, objective):
    if isinstance(objective, tempflow.DiffusionNFT):
        objective = replace(objective, min_weight=50.0)  # the weights of its terms are not differentiated
    of = problem(objective, chain, siblings=2, mask="of states")
    assert torch.autograd.gradcheck(lambda v: of.loss(v, objective)[0], of.v.requires_grad_())


@of_each
def test_on_policy_in_bfloat16(chain, objective):
    of = problem(objective, chain, dtype=torch.bfloat16, far=0)
    _, rows = of.loss(of.v, objective)
    assert (rows[:, 1] == 0).all() and (rows[:, 2] == 1).all() and (rows[:, 5:7] == 0).all()


@of_each
def test_operators_pass_opcheck_and_losses_compile(chain, objective):
    of = problem(objective, chain, dtype=torch.float32, siblings=2, mask="of states")
    leaf = of.v.clone().requires_grad_()
    torch.library.opcheck(ops.policy_loss.default, (
        leaf, of.x, of.y, of.v_ref, of.v_old, of.mask, of.offsets, of.transitions, of.old, of.advantages, of.weights, None, 0, 0,
        False, *objective.parameters(), "mean", of.terms, 0, False))

    def loss_of(v):
        return of.loss(v, objective)[0]
    torch._dynamo.reset()  # or it counts the objectives before as recompilations
    leaves = [of.v.clone().requires_grad_() for _ in range(2)]
    losses = [call(leaf) for leaf, call in zip(leaves, (loss_of, torch.compile(loss_of, fullgraph=True, backend="aot_eager")))]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses) and torch.equal(leaves[0].grad, leaves[1].grad) and leaves[0].grad.abs().max() > 0


@of_each
def test_two_calls_have_the_bits_of_one(chain, objective):
    of = problem(objective, chain, dtype=torch.float32, siblings=2, mask="of states")
    leaf = of.v.clone().requires_grad_()
    loss, rows = of.loss(leaf, objective)
    loss.backward()
    given = {"offsets": of.offsets, "mask": of.mask, "v_ref": of.v_ref, "v_old": of.v_old}
    sums = tempflow.policy_sums(of.v, of.x, of.y, of.transitions, mixture=getattr(objective, "mixture", 0.0), **given)
    scores, factors = tempflow.policy_scores(sums, of.transitions, of.old, of.advantages, objective, weights=of.weights,
                                             offsets=of.offsets, terms=of.terms)
    gradient = tempflow.policy_gradient(of.v, of.x, of.y, of.transitions, factors, **given)
    assert torch.equal(scores[:, :8], rows[:, :8]) and torch.equal(gradient, leaf.grad)
    # Of rows that lie in two shards, the sums add up: the loss is that of the whole.
    parts = []
    for part in (slice(0, 1), slice(1, 2)):
        x, y, v, v_ref, v_old, mask = (t[:, part].contiguous() for t in (of.x, of.y, of.v, of.v_ref, of.v_old, of.mask))
        parts.append(tempflow.policy_sums(v, x, y, of.transitions, offsets=of.offsets, mask=mask, v_ref=v_ref, v_old=v_old,
                                          mixture=getattr(objective, "mixture", 0.0)))
    assert torch.allclose(parts[0] + parts[1], sums, rtol=1e-5, equal_nan=True)


def test_gspo_and_gmpo(chain):
    of = problem(tempflow.SequenceGRPO(), chain, siblings=2)
    sequences = torch.tensor([4, 9, 4, 9, 4, 9])  # a sample's three steps, and its sibling's
    of.advantages = torch.tensor([1.5, -0.7] * 3, dtype=torch.float64)
    given = {"offsets": of.offsets, "v_ref": of.v_ref}
    sums = tempflow.policy_sums(of.v, of.x, of.y, of.transitions, **given)
    for ratio, clip in (("mean", 0.5), ("mean", 1e-3), ("mean_of_clipped", 0.05)):
        objective = tempflow.SequenceGRPO(ratio=ratio, clip=clip, kl_beta=0.1)
        rows, factors = tempflow.policy_scores(sums, of.transitions, of.old, of.advantages, objective, weights=of.weights,
                                               offsets=of.offsets, sequences=sequences)
        gradient = tempflow.policy_gradient(of.v, of.x, of.y, of.transitions, factors, **given)
        v = of.v.clone().requires_grad_()
        per_row = of.transitions.repeat_interleave(2, 0)
        log_r = log_prob_of(of.by_row(of.x), of.by_row(v), of.y, per_row) - of.old
        a, losses = of.advantages, torch.zeros(6, dtype=torch.float64)
        for sample in (4, 9):
            steps = sequences == sample
            if ratio == "mean":
                s = log_r[steps].mean().exp()
                surrogate = torch.maximum(-a[steps] * s, -a[steps] * s.clamp(1 - clip, 1 + clip))
            else:
                sided = torch.where(a[steps] >= 0, log_r[steps].clamp(max=clip), log_r[steps].clamp(min=-clip))
                surrogate = -a[steps] * sided.mean().exp()
            losses = losses.masked_scatter(steps, surrogate)
        beta, std = (per_row[:, i].reshape(-1, 1, 1, 1) for i in (1, 2))
        kl = of.mean((beta * (of.by_row(v) - of.by_row(of.v_ref)))**2 / (2 * std**2))
        loss = (of.weights * losses + 0.1 * kl).mean()
        loss.backward()
        assert abs(tempflow.statistics_of(rows, kl_beta=0.1).loss - loss.item()) < 1e-10
        assert (gradient - v.grad).abs().max() < 1e-10 * v.grad.abs().max() and v.grad.abs().max() > 0


@pytest.mark.parametrize("mask", [None, "shared"])
def test_diffusion_dpo(chain, mask):
    beta = 3.0
    of = problem(tempflow.PreferencePairs(), chain, siblings=2, mask=mask)
    pairs = torch.tensor([[1, 0], [2, 3], [5, 4]])
    given = {"offsets": of.offsets, "mask": of.mask, "v_ref": of.v_ref}
    sums = tempflow.policy_sums(of.v, of.x, of.y, of.transitions, **given)
    rows, factors = tempflow.policy_scores(sums, of.transitions, None, None, tempflow.PreferencePairs(beta=beta),
                                           offsets=of.offsets, pairs=pairs)
    gradient = tempflow.policy_gradient(of.v, of.x, of.y, of.transitions, factors, **given)
    v = of.v.clone().requires_grad_()
    target = (of.by_row(of.x) - of.y) / of.by_row(of.transitions)[:, 3].reshape(-1, 1, 1, 1)  # z - x0
    model, reference = (of.mean((of.by_row(velocity) - target)**2) for velocity in (v, of.v_ref))
    better, worse = pairs.T
    inside = -0.5 * beta * ((model[better] - model[worse]) - (reference[better] - reference[worse]))
    loss = -F.logsigmoid(inside).mean()
    loss.backward()
    assert abs(tempflow.statistics_of(rows).loss - loss.item()) < 1e-10
    assert (gradient - v.grad).abs().max() < 1e-10 * v.grad.abs().max() and v.grad.abs().max() > 0


def test_samples_are_noised_again():
    x0, ids, t = torch.randn(3, *SHAPE), ids_of(3), torch.tensor([1.0, 0.25, 0.5], dtype=torch.float64)
    x = tempflow.noised(x0, t, ids, (3, 1))
    z = tempflow.noise(ids, SHAPE, (3, 1))
    at = t.float().reshape(3, 1, 1, 1)
    assert torch.allclose(x, (1 - at) * x0 + at * z, atol=1e-6) and torch.equal(x[0], z[0])
    steps = tempflow.clean_transitions(t)
    assert torch.equal(steps[:, :5], torch.stack([torch.ones(3), -t, torch.zeros(3), t, torch.zeros(3)], 1).double())
    with pytest.raises(tempflow.ScheduleError, match=r"sigma = 0, must be in \(0, 1\]"):
        tempflow.clean_transitions([0.0])


def test_masks_in_steps_and_noise_of_shards(chain):
    x, v = (torch.randn(3, 8, 4) for _ in range(2))
    ids, mask = ids_of(3, 2), torch.arange(8).reshape(8, 1).expand(8, 4) % 3 > 0
    y, old = tempflow.step(x, v, chain[2], ids, (5, 0), mask=mask)
    whole, _ = tempflow.step(x, v, chain[2], ids, (5, 0))
    assert torch.equal(y, torch.where(mask, whole, x))
    assert torch.equal(old, tempflow.log_prob(x, v, y, chain[2], mask=mask))
    assert torch.equal(old, tempflow.log_prob(x, v, torch.where(mask, y, float("nan")), chain[2], mask=mask))
    assert torch.equal(tempflow.ode_step(x, v, chain[2], mask=mask), torch.where(mask, tempflow.ode_step(x, v, chain[2]), x))
    _, branches, scores = tempflow.branch_step(x, v, chain[2], ids, (5, 0), 2, mask=mask)
    assert torch.equal(branches[::2], y) and torch.equal(scores[::2], old)
    leaf, exact = v.double().requires_grad_(), v.double().requires_grad_()
    tempflow.log_prob(x.double(), leaf, y.double(), chain[2], mask=mask).sum().backward()
    alpha, beta, std = chain[2][:3]
    r = (y.double() - alpha * x.double() - beta * exact) * mask
    (-(r**2).flatten(1).sum(1) / mask.sum() / (2 * std**2)).sum().backward()
    assert torch.allclose(leaf.grad, exact.grad)
    for first in (0, 4):  # rows of a shard: its elements are those from 4 first on
        part = slice(first, first + 4)
        shard, _ = tempflow.step(x[:, part].contiguous(), v[:, part].contiguous(), chain[2], ids, (5, 0), first_element=4 * first)
        assert torch.equal(shard, whole[:, part])
    assert torch.equal(tempflow.noise(ids, (4, 4), (5, 0), first_element=16), tempflow.noise(ids, (8, 4), (5, 0))[:, 4:])
    with pytest.raises(tempflow.TempflowError, match="6"):
        tempflow.noise(ids, (4, 4), (5, 0), first_element=6)


def test_what_an_objective_lacks_is_named(chain):
    guard, nft, matching = tempflow.GRPOGuard(), tempflow.DiffusionNFT(), tempflow.AdvantageWeightedMatching()
    drawn, finished, scored = problem(guard, chain), problem(nft, chain), problem(matching, chain)

    def raises(kind, match, of, objective, **changes):
        of = replace(of, **changes)
        with pytest.raises(kind, match=match):
            of.loss(of.v, objective)
    for of, objective in ((drawn, guard), (drawn, tempflow.FlowDPPO()), (finished, nft)):
        raises(tempflow.ShapeError, "needs v_old", of, objective, v_old=None)
        raises(tempflow.InvalidValueError, "v_old is float32, expected float64", of, objective, v_old=of.v_old.float())
        raises(tempflow.ShapeError, "v_old is 2 x 12, expected 3 x 12", of, objective, v_old=of.v_old[:2])
    raises(tempflow.ShapeError, "needs v_ref", finished, nft, v_ref=None)
    raises(tempflow.ShapeError, "old_log_probs has 0 entries", drawn, guard, old=None)
    raises(tempflow.InvalidValueError, "squared_error", scored, matching, terms="all")
    raises(tempflow.ScheduleError, "std = 0", finished, tempflow.ClippedGRPO(), old=torch.zeros(3).double())
    raises(tempflow.ShapeError, r"mask has shape \(5\)", drawn, guard, mask=torch.ones(5, dtype=torch.bool))
    raises(tempflow.ShapeError, "mask is 2 x 12, expected 3 x 12", drawn, guard, mask=torch.ones(2, *SHAPE, dtype=torch.bool))
    raises(tempflow.InvalidValueError, "mask is float32", drawn, guard, mask=torch.ones(SHAPE))
    raises(tempflow.InvalidValueError, "mask", drawn, guard, mask=torch.zeros(SHAPE, dtype=torch.bool))
    raises(tempflow.InvalidValueError, "max_ratio = 1", drawn, tempflow.DualClippedGRPO(max_ratio=1.0))
    raises(tempflow.InvalidValueError, "kl_over = 'none', must be one of", drawn, tempflow.GRPOGuard(kl_over="none"))
    raises(tempflow.InvalidValueError, "objective = 'sequence_grpo', must be one of", drawn, tempflow.SequenceGRPO())
    with pytest.raises(tempflow.InvalidValueError, match="v_old requires grad"):
        drawn.v_old.requires_grad_()
        drawn.loss(drawn.v, guard)
    drawn.v_old.requires_grad_(False)
    with pytest.raises(tempflow.ShapeError, match="noise in place of it goes with objectives of the ratio"):
        tempflow.policy_loss_rows(drawn.v, drawn.x, None, chain[2], drawn.old, drawn.advantages, guard, v_old=drawn.v_old,
                                  drawn=(ids_of(3), (0, 0), False))
    sums = torch.ones(4, 8, dtype=torch.float64)
    with pytest.raises(tempflow.ShapeError, match="sequences has 0 entries"):
        tempflow.policy_scores(sums, chain[2], torch.zeros(4), torch.zeros(4), tempflow.SequenceGRPO())
    with pytest.raises(tempflow.ShapeError, match=r"pairs\[1\] names row 1"):
        tempflow.policy_scores(sums, tempflow.clean_transitions([0.5])[0], None, None, tempflow.PreferencePairs(),
                               pairs=torch.tensor([[0, 1], [1, 2]]))
    sums[:, 2:4] = torch.nan  # as policy_sums gives them without a v_ref
    with pytest.raises(tempflow.ShapeError, match="needs v_ref"):
        tempflow.policy_scores(sums, tempflow.clean_transitions([0.5])[0], None, None, tempflow.PreferencePairs(),
                               pairs=torch.tensor([[0, 1], [3, 2]]))
