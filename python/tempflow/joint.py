# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""One update of several rollouts and several processes. Each process rolls out its own seeds (first_seed) or prompts:

    everyone = torch.distributed.group.WORLD
    (advantages,) = tempflow.joint_advantages([rollout], [rewards], group=everyone)
    batches = tempflow.minibatches(rollout, advantages, weights, size=8)
    for batch in tempflow.joint_minibatches([batches], group=everyone):
        loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
        loss.backward()
        if batch.completes_update:
            tempflow.sum_gradients(model.parameters(), group=everyone)
            optimizer.step(); optimizer.zero_grad()

`group` is torch.distributed's; None, which group.WORLD is where nothing was initialised: this process alone.
"""

from dataclasses import replace
from itertools import chain

import torch
import torch.distributed as dist

from .advantages import Advantages, _numbers, group_advantages
from .batches import Batch, Minibatches
from .errors import InvalidValueError
from .rollout import Rollout


def _gather(value, group) -> tuple[list, int]:
    """Everyone's value, by rank, and this process's rank."""
    if group is None:
        return [value], 0
    values = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values, dist.get_rank(group)


def joint_advantages(rollouts: list[Rollout], rewards, *, of: str = "prompt", group=None, **options) -> list[Advantages]:
    """group_advantages over the samples of all rollouts and processes: those of each rollout of this process.

    rewards: one per sample, for each rollout. of: Rollout.groups'. Statistics are those of all. Samples are put in the order
    of their identities first, so that how they are shared out changes no bit.
    """
    sizes = [len(rollout.identities) for rollout in rollouts]
    if not sizes or [len(r) for r in rewards] != sizes:
        raise InvalidValueError(f"joint_advantages: rewards of {[len(r) for r in rewards]} samples, rollouts of {sizes}")
    identities = torch.tensor([s[:4] for rollout in rollouts for s in rollout.identities], dtype=torch.int64,
                              device="cpu").reshape(-1, 4)
    mine = (identities, torch.cat([rollout.groups(of) for rollout in rollouts]), torch.cat([_numbers(r) for r in rewards]))
    if len(mine[1]) != len(mine[2]):
        raise InvalidValueError(f"joint_advantages: of = '{of}' is a group per row, and rewards are one per sample")
    everyone, rank = _gather(mine, group)
    identities, groups, rewards = (torch.cat(parts) for parts in zip(*everyone))
    if len(identities.unique(dim=0)) != len(identities):
        raise InvalidValueError("joint_advantages: some samples are there twice; processes that share a prompt have seeds of their own "
                                "(first_seed)")
    order = torch.arange(len(rewards), device="cpu")
    for column in (3, 2, 1, 0):  # the last sort is by prompt
        order = order[identities[order, column].argsort(stable=True)]
    found = group_advantages(rewards[order], groups[order], **options)
    places = order.argsort()
    excluded = torch.zeros(len(rewards), dtype=torch.bool, device="cpu")
    excluded[found.excluded] = True
    of_mine = places[sum(len(each[2]) for each in everyone[:rank]):][:sum(sizes)].split(sizes)
    return [Advantages(found.values[at], excluded[at].nonzero().flatten().tolist(), found.statistics) for at in of_mine]


class JointMinibatches:
    """The batches of one update on several rollouts and processes. `rows`: those of all, which its losses are a mean over."""

    def __init__(self, parts: list[Minibatches], group=None) -> None:
        if not parts or any(part.updates != 1 for part in parts):
            raise InvalidValueError(f"joint_minibatches: parts of {[part.updates for part in parts]} updates, expected 1 of "
                                    "each; for several, join each one's with leave_out")
        self.parts = parts
        counts, _ = _gather((sum(part.rows for part in parts), sum(len(part) for part in parts)), group)
        self.rows, self._length = sum(rows for rows, _ in counts), max(length for _, length in counts)

    def __len__(self) -> int:
        return self._length

    def __iter__(self):
        mine = chain.from_iterable(self.parts)
        for number in range(self._length):
            batch = next(mine, None) or _empty(self.parts[0].rollout)
            yield replace(batch, mean_over=self.rows, completes_update=number + 1 == self._length)


def joint_minibatches(parts: list[Minibatches], *, group=None) -> JointMinibatches:
    """Joins the minibatches of several rollouts, and of all processes of a group, to one update.

    All processes have the same number of batches, so that they can run the model in step (DDP, FSDP): one that has fewer gets
    batches of a state without rows, whose loss and gradient are 0. No process has any where no row of any teaches.
    Losses are a mean over the rows of all: gradients are to be added up (sum_gradients). DDP and FSDP average them: multiply
    the loss by the number of processes.
    """
    return JointMinibatches(list(parts), group)


def _empty(rollout: Rollout) -> Batch:
    """The rollout's first state, and no transition."""
    row, nothing = rollout.table[:1], torch.empty(0, dtype=torch.float64, device="cpu")
    transitions, plan = rollout.plan.chain.table[row[:, 2]], rollout.plan
    x = rollout.states[row[:, 0].to(rollout.states.device)]
    return Batch(x=x, y=None if plan.redraw else x[:0], sigma=transitions[:, 3].float().to(x.device),
                 prompts=row[:, 6].to(x.device), transitions=transitions, offsets=torch.zeros_like(row[0, :2]),
                 old_log_probs=rollout.log_probs[:0], advantages=nothing, weights=nothing, mean_over=1, completes_update=False,
                 without_zeros=False, drawn=(row[:0, 6:], rollout.key, plan.antithetic) if plan.redraw else None,
                 rows=row[:0, 0], rollout=rollout, reduction=rollout.reduction, terms=rollout.terms,
                 mask=rollout.mask)


@torch.no_grad()
def sum_gradients(parameters, *, group=None) -> None:
    """Gradients become the sum of all processes'; one that is missing counts 0. Without a group only that."""
    alike = {}
    for p in parameters:
        if p.requires_grad:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            alike.setdefault((p.grad.dtype, p.grad.device), []).append(p.grad)
    for gradients in alike.values() if group is not None else ():
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat, group=group)
        for gradient, total in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(total.reshape(gradient.shape))
