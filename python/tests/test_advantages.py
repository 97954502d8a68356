# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Estimators of advantages, weights of steps, drift and what makes up for it, against their formulas in PyTorch."""

import math

import pytest
import torch
from conftest import ids_of

import tempflow

REWARDS = torch.tensor([1.0, 3.0, 2.0, 7.0, 4.0, 4.5, 0.0, 2.5], dtype=torch.float64)
GROUPS = torch.tensor([0, 0, 0, 0, 5, 5, 5, 5])


def of_groups(values):
    return values.reshape(2, 4)


def test_leave_one_out():
    found = tempflow.group_advantages(REWARDS, GROUPS, scale="none", baseline="others_mean")
    rewards = of_groups(REWARDS)
    expected = rewards - (rewards.sum(1, keepdim=True) - rewards) / 3  # RLOO, arXiv 2402.14740
    assert torch.allclose(of_groups(found.values), expected)


def test_groups_of_hardly_any_spread_teach_nothing():
    spread = of_groups(REWARDS).std(1, unbiased=False)
    found = tempflow.group_advantages(REWARDS, GROUPS, min_std=float(spread.mean()))
    low, high = spread.argmin(), spread.argmax()
    assert (of_groups(found.values)[low] == 0).all() and (of_groups(found.values)[high] != 0).all()
    assert found.statistics.zero_std_groups == 1


def test_trimmed():
    found = tempflow.trimmed_advantages(REWARDS, GROUPS, 0.25)
    kept = of_groups(REWARDS).sort(1).values[:, 1:]
    expected = (of_groups(REWARDS) - kept.mean(1, keepdim=True)) / (kept.std(1, keepdim=True, unbiased=False) + 1e-4)
    assert torch.allclose(of_groups(found.values), expected)
    with pytest.raises(tempflow.InvalidValueError, match="trim = 1"):
        tempflow.trimmed_advantages(REWARDS, GROUPS, 1.0)


def test_several_rewards():
    other = torch.tensor([1.0, -10.0, 2.0, -10.0, 0.5, 0.25, 4.0, 1.0], dtype=torch.float64)
    noise = torch.arange(8.0)
    found = tempflow.combined_advantages({"quality": REWARDS, "text": other, "watched": noise}, GROUPS,
                                         weights={"text": 0.5, "watched": 0}, not_applicable={"text": -10})
    expected = torch.zeros(8, dtype=torch.float64)
    for reward, weight, applies in ((REWARDS, 1.0, torch.ones(8, dtype=torch.bool)), (other, 0.5, other != -10)):
        for group in (0, 5):
            of = applies & (GROUPS == group)
            expected[of] += weight * (reward[of] - reward[of].mean()) / reward[of].std(unbiased=False)  # GDPO
    assert torch.allclose(found.values, expected / expected.std(unbiased=False))
    plain = tempflow.combined_advantages({"quality": REWARDS, "text": other}, GROUPS, weights={"text": 0.5},
                                         not_applicable={"text": -10}, normalize_sum=False)
    assert torch.allclose(plain.values, expected) and found.excluded == []
    text = found.rewards["text"]
    assert (text.samples, text.not_applicable, text.min, text.max) == (8, 2, 0.25, 4.0)
    assert abs(text.mean - other[other != -10].mean()) < 1e-12 and text.groups.groups == 2
    assert list(found.rewards) == ["quality", "text", "watched"] and isinstance(found, tempflow.Advantages)
    with pytest.raises(tempflow.InvalidValueError, match="no reward 'txt' among"):
        tempflow.combined_advantages({"text": other}, GROUPS, weights={"txt": 1})
    with pytest.raises(tempflow.ShapeError, match="reward text has shape"):
        tempflow.combined_advantages({"quality": REWARDS, "text": other[:3]}, GROUPS)
    with pytest.raises(tempflow.ShapeError, match="no rewards"):
        tempflow.combined_advantages({}, GROUPS)
    with pytest.raises(tempflow.InvalidValueError, match="reward text of sample 1 = nan"):
        tempflow.combined_advantages({"text": [1.0, math.nan]}, [0, 0])
    lost = tempflow.combined_advantages({"text": [1.0, math.nan, 2.0]}, [0, 0, 0], not_finite="exclude")
    assert lost.excluded == [1] and lost.values[1] == 0


@pytest.mark.parametrize("window", [4, 0])
def test_running_advantages_go_on_from_their_state(window):
    running = tempflow.RunningAdvantages(window=window, warm_up=2)
    prompts = torch.tensor([7, 7, 3, 3])
    batches = of_groups(REWARDS)
    first = running.take_up(batches[0], prompts)
    mine = batches[0][:2]
    assert torch.allclose(first.values[:2], (mine - mine.mean()) / (mine.std(unbiased=False) + 1e-6))
    again = tempflow.RunningAdvantages(window=window, warm_up=2)
    again.load_state_dict(running.state_dict())
    for known in (running, again):
        second = known.take_up(batches[1], prompts)
        mine = torch.cat([batches[0][:2], batches[1][:2]])
        assert torch.allclose(second.values[:2], (batches[1][:2] - mine.mean()) / (mine.std(unbiased=False) + 1e-6))
    with pytest.raises(tempflow.InvalidValueError, match="state, prompt 0"):
        again.load_state_dict({"window": window, "prompts": prompts[:1], "counts": prompts[:0], "numbers": REWARDS[:0]})
        again.take_up(batches[0], prompts)
    with pytest.raises(tempflow.InvalidValueError, match="the state is of window = 7"):
        again.load_state_dict(running.state_dict() | {"window": 7})
        again.take_up(batches[0], prompts)
    with pytest.raises(tempflow.InvalidValueError, match="window = 1, warm_up = 2"):
        tempflow.RunningAdvantages(window=1, warm_up=2).take_up(batches[0], prompts)


def test_win_rates():
    preferences = (of_groups(REWARDS)[0][:, None] > of_groups(REWARDS)[0]).double()
    rates = tempflow.win_rates(GROUPS[:4], preferences)
    assert torch.allclose(rates, preferences.sum(1) / 3)
    assert torch.equal(tempflow.win_rates_of_scores(REWARDS[:4], GROUPS[:4]), rates)
    with pytest.raises(tempflow.ShapeError, match=r"preferences have shape \(3, 3\), of 4"):
        tempflow.win_rates(GROUPS[:4], preferences[:3, :3])
    with pytest.raises(tempflow.GroupError, match="has 1 sample"):
        tempflow.win_rates([0], torch.ones(1, 1))


def test_best_and_worst():
    assert tempflow.best_and_worst(REWARDS, GROUPS, 2) == ([0, 3, 5, 6], [1, 2, 4, 7])
    assert tempflow.best_and_worst(REWARDS, None, 2) == ([3, 6], [0, 1, 2, 4, 5, 7])
    rewards = REWARDS.clone()
    rewards[3] = math.nan
    advantages = tempflow.group_advantages(rewards, GROUPS, not_finite="exclude")
    assert tempflow.best_and_worst(advantages, GROUPS, 2) == ([0, 1, 5, 6], [2, 3, 4, 7])
    with pytest.raises(tempflow.InvalidValueError, match="count = 3"):
        tempflow.best_and_worst(REWARDS, GROUPS, 3)


def test_weights_of_steps(chain):
    steps = chain.trainable_steps()
    std, beta, dt = chain.table[:, 2], chain.table[:, 1], chain.table[:, 5]
    forms = (("uniform", torch.ones_like(std), None), ("noise_aware", std, None), ("flat_gradient", std / beta.abs(), None),
             ("guard", 1 / dt, "trained_steps"))
    for form, expected, over in forms:
        found = tempflow.timestep_weights(chain, steps, form, over=over)
        assert torch.allclose(found[steps], (expected / expected[steps].mean())[steps])
    assert torch.allclose(tempflow.timestep_weights(chain, steps, "guard"), 1 / dt)
    sigma, g = chain.table[:, 3], chain.table[:, 6]
    assert torch.allclose(tempflow.timestep_weights(chain, steps, "guard_langevin"), (1 + g**2 * (1 - sigma) / (2 * sigma)) / dt)
    assert abs(tempflow.timestep_weights(chain, steps, over="all_steps").mean() - 1) < 1e-12
    with pytest.raises(tempflow.InvalidValueError, match="form = 'flat', must be one of uniform, noise_aware, flat_gradient"):
        tempflow.timestep_weights(chain, steps, "flat")
    with pytest.raises(tempflow.ScheduleError, match="no trained steps"):
        tempflow.timestep_weights(chain, [], "uniform")


def test_drift_by_step(chain):
    ids, steps = ids_of(6, 2), torch.tensor([0, 1, 1, 3, 1, 0])
    x, v, apart = (tempflow.noise(ids, (4,), (k, 0)) for k in (1, 2, 3))
    y, old = tempflow.step(x, v, chain[2], ids, (4, 0))
    _, rows = tempflow.policy_loss_rows(v + 0.3 * apart, x, y, chain[2], old, torch.ones(6))
    by_step, total = tempflow.drift_by_step(rows, steps, 4)
    assert [of.rows for of in by_step] == [2, 3, 0, 1] and total.rows == 6
    for step, of in [*enumerate(by_step), (None, total)]:
        log_ratio = rows[:, 1] if step is None else rows[steps == step, 1]
        if not len(log_ratio):
            continue
        r = log_ratio.exp()
        expected = (log_ratio.abs().max(), log_ratio.abs().mean(), -log_ratio.mean(), (log_ratio**2 / 2).mean(),
                    (r - 1 - log_ratio).mean(), rows[:, 5].mean(), r.sum()**2 / (r**2).sum() / len(r))
        found = (of.max_abs, of.mean_abs, of.k1, of.k2, of.k3, total.fraction_below, of.effective_share)
        assert torch.allclose(torch.tensor(found).double(), torch.stack(expected).double(), atol=1e-9)
    with pytest.raises(tempflow.InvalidValueError, match=r"steps\[3\] = 3, must be in \[0, 3\)"):
        tempflow.drift_by_step(rows, steps, 3)


def test_corrections():
    log_ratios, sequences = torch.tensor([0.1, 1.0, -0.2, -3.0]).double(), torch.tensor([0, 0, 1, 1])
    found = tempflow.corrected_weights(log_ratios)
    assert torch.allclose(found.weights, log_ratios.exp().clamp(max=2)) and (found.truncated, found.rejected) == (1, 0)
    found = tempflow.corrected_weights(log_ratios, truncate=None, keep=(0.5, 2.0))
    assert found.weights.tolist() == [1, 0, 1, 0] and (found.truncated, found.rejected) == (0, 2)
    found = tempflow.corrected_weights(log_ratios, ratios="sequences_mean", sequences=sequences)
    assert torch.allclose(found.weights, torch.tensor([0.55, 0.55, -1.6, -1.6]).double().exp())
    with pytest.raises(tempflow.InvalidValueError, match=r"log_ratios\[1\] = nan"):
        tempflow.corrected_weights([0.0, math.nan])
    with pytest.raises(tempflow.ShapeError, match="sequences has 0 entries, of 4 rows"):
        tempflow.corrected_weights(log_ratios, ratios="sequences")
