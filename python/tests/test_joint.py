# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""One update of several rollouts and of two processes: the advantages, the batches and the gradient of one."""

import subprocess
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

import tempflow

SHAPE, STEPS = (2, 3), 5
CHAIN = tempflow.make_chain(tempflow.sigmas("sd3", STEPS))
PROMPTS = [7, 4, 9]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.unused = torch.nn.Parameter(torch.tensor(0.5)), torch.nn.Parameter(torch.zeros(3))

    def forward(self, x, sigma, prompts):
        return x * self.scale * (1 + sigma).reshape(-1, 1, 1)


def rewards_of(rollout):
    rewards = rollout.samples.flatten(1).sum(1)
    rewards[torch.tensor([s.prompt == 4 and s.seed == 1 for s in rollout.identities])] = float("nan")
    rewards[torch.tensor([s.prompt == 9 for s in rollout.identities])] = 1.0  # a group that teaches nothing
    return rewards


def gradient(prompt_lists, seeds, group=None, redraw=False):
    """(advantages by identity, rows of the mean, states of each batch, the gradient) of an update."""
    model = Model()
    plan = tempflow.branch_plan(CHAIN, seeds_per_prompt=len(seeds), first_seed=seeds[0], explorations=2, redraw=redraw)
    rollouts = [tempflow.roll_out(model, plan, prompts, (1, 2), shape=SHAPE) for prompts in prompt_lists]
    found = tempflow.joint_advantages(rollouts, [rewards_of(r) for r in rollouts], group=group, not_finite="exclude")
    batches = tempflow.joint_minibatches([tempflow.minibatches(r, a, torch.ones(STEPS), size=3, skip_zeros=True)
                                          for r, a in zip(rollouts, found)], group=group)
    states, completed = [], []
    for batch in batches:
        loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
        loss.backward()
        states.append(batch.x.shape[0] if len(batch.rows) else 0)
        completed.append(batch.completes_update)
        assert batch.mean_over == batches.rows and statistics.max_abs_log_ratio == 0
    assert completed == [False] * (len(batches) - 1) + [True]
    tempflow.sum_gradients(model.parameters(), group=group)
    assert torch.equal(model.unused.grad, torch.zeros(3))
    advantages = {tuple(s[:4]): a for r, each in zip(rollouts, found) for s, a in zip(r.identities, each.values.tolist())}
    assert sum(len(each.excluded) for each in found) == (8 if 1 in seeds else 0)
    return advantages, batches.rows, states, model.scale.grad, found[0].statistics


def test_parts_are_one_update():
    whole, parts = gradient([PROMPTS], [0, 1, 2]), gradient([PROMPTS[:1], PROMPTS[1:]], [0, 1, 2])
    assert whole[0] == parts[0] and whole[1] == parts[1] == 3 * 3 * 4 * 2 - 4 * 2 and whole[4] == parts[4]
    assert torch.allclose(whole[3], parts[3], rtol=1e-5) and whole[3].abs() > 0
    assert sum(whole[2]) == sum(parts[2]) == 5 * 4  # states of prompts 7 and 4, without seed 1 of the latter
    again = gradient([PROMPTS], [0, 1, 2], redraw=True)
    assert again[0] == whole[0] and torch.allclose(again[3], whole[3], rtol=1e-3)


def test_joint_batches_are_rescored_together():
    model = Model()
    plan = tempflow.branch_plan(CHAIN, seeds_per_prompt=2, explorations=2)
    rollouts = [tempflow.roll_out(model, plan, [prompt], (1, 2), shape=SHAPE) for prompt in PROMPTS[:2]]
    batches = tempflow.joint_minibatches([tempflow.minibatches(r, torch.ones(16), torch.ones(STEPS), size=3) for r in rollouts])
    old = [rollout.log_probs for rollout in rollouts]
    model.scale.data *= 1.001
    drift = tempflow.rescore(model, batches)
    assert torch.equal(drift.changes, torch.cat([r.log_probs - before for r, before in zip(rollouts, old)]))
    assert torch.equal(drift.steps, torch.cat([rollout.table[:, 2] for rollout in rollouts])) and (drift.changes != 0).all()
    for batch in batches:
        v = model(batch.x, batch.sigma, batch.prompts)
        assert tempflow.policy_loss(v, batch)[1].max_abs_log_ratio == 0
    dead = tempflow.minibatches(rollouts[0], torch.zeros(16), torch.ones(STEPS), skip_zeros=True)
    assert tempflow.rescore(model, tempflow.joint_minibatches([dead])).max_abs == 0


def test_what_cannot_be_joined_is_named():
    plan = tempflow.branch_plan(CHAIN, seeds_per_prompt=2, explorations=2)
    rollout = tempflow.roll_out(Model(), plan, [1], (1, 2), shape=SHAPE)
    two = tempflow.minibatches(rollout, torch.ones(16), torch.ones(STEPS), updates=2)
    for parts in ([], [two]):
        with pytest.raises(tempflow.InvalidValueError, match="expected 1 of each"):
            tempflow.joint_minibatches(parts)
    with pytest.raises(tempflow.InvalidValueError, match=r"rewards of \[15\] samples, rollouts of \[16\]"):
        tempflow.joint_advantages([rollout], [torch.ones(15)])
    with pytest.raises(tempflow.InvalidValueError, match=r"rollouts of \[\]"):
        tempflow.joint_advantages([], [])
    plan = tempflow.branch_plan(CHAIN, seeds_per_prompt=2, explorations=2, redraw=True)
    redrawn = tempflow.roll_out(Model(), plan, [1], (1, 2), shape=SHAPE)
    batches = tempflow.joint_minibatches([tempflow.minibatches(redrawn, torch.ones(16), torch.ones(STEPS))])
    assert len(list(batches)) == len(batches) == 1
    with pytest.raises(tempflow.InvalidValueError, match="second pass"):
        list(batches)
    dead = tempflow.minibatches(rollout, torch.zeros(16), torch.ones(STEPS), skip_zeros=True)
    assert len(tempflow.joint_minibatches([dead])) == 0 and tempflow.joint_minibatches([dead]).rows == 16


SHARES = {2: [[0, 1], [2]], 4: [[0], [1], [2], [3]]}  # of the seeds, by the number of processes


@pytest.mark.parametrize("count", SHARES)
def test_several_processes_have_the_update_of_one(tmp_path, count):
    processes = [subprocess.Popen([sys.executable, __file__, str(tmp_path), str(rank), str(count)]) for rank in range(count)]
    assert [p.wait(timeout=120) for p in processes] == [0] * count
    expected = gradient([PROMPTS], sum(SHARES[count], []))
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(count)]
    together = {}
    for share, (advantages, rows, states, of_all, statistics) in zip(SHARES[count], found):
        assert len(advantages) == 24 * len(share) and not together.keys() & advantages.keys()
        together |= advantages
        assert rows == expected[1] and statistics == expected[4] and len(states) == len(found[0][2])  # in step
        assert torch.allclose(of_all, expected[3], rtol=1e-5)
    assert together == expected[0]
    assert sum(sum(states) for _, _, states, _, _ in found) == sum(expected[2])


def _process(folder, rank, count):
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", count), rank=rank, world_size=count,
                            timeout=timedelta(seconds=60))
    result = gradient([PROMPTS], SHARES[count][rank], group=dist.group.WORLD)
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_groups_of_rows_are_refused_for_rewards_of_samples():
    plan = tempflow.flow_plan(CHAIN, samples_per_prompt=4)
    rollout = tempflow.roll_out(Model(), plan, PROMPTS[:1], (1, 2), shape=SHAPE)
    with pytest.raises(tempflow.InvalidValueError, match="of = 'depth' is a group per row"):
        tempflow.joint_advantages([rollout], [torch.ones(4)], of="depth")


def test_samples_that_are_there_twice_are_refused():
    rollout = tempflow.roll_out(Model(), tempflow.flow_plan(CHAIN, samples_per_prompt=4), PROMPTS[:1], (1, 2), shape=SHAPE)
    with pytest.raises(tempflow.InvalidValueError, match="there twice"):
        tempflow.joint_advantages([rollout, rollout], [torch.rand(4)] * 2)


def test_fractions_for_counts_have_a_type():
    with pytest.raises(tempflow.InvalidValueError, match="seeds_per_prompt"):
        tempflow.branch_plan(CHAIN, seeds_per_prompt=1.5)


if __name__ == "__main__":
    _process(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
