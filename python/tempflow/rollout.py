# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rollouts: a short loop over the library's tables that calls its operators. The model stays in your hands, and with it
autocast, hooks, FSDP and torch.compile; the bits are those of the C++ engine.

    plan = tempflow.branch_plan(chain, seeds_per_prompt=4, explorations=6)
    rollout = tempflow.roll_out(model, plan, prompts=[3, 8], key=(seed, update), shape=(16, 64, 64))
    rewards = score(decode(rollout.samples), [prompts[s.prompt] for s in rollout.identities])
    advantages = tempflow.group_advantages(rewards, rollout.groups("prompt"))
    for batch in tempflow.minibatches(rollout, advantages, weights, size=8): ...
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import steps as _steps
from ._operators import ops
from .advantages import _numbers
from .errors import InvalidValueError, ShapeError, typed
from .plans import DRAW, START, Plan
from .steps import Key, _whole

Model = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, sigma, prompts) -> v

Identity = namedtuple("Identity", ("prompt", "seed", "step", "branch", "node", "last_row"))
Identity.__doc__ = "Whose sample it is: sample_identity."

@dataclass(eq=False)
class Rollout:
    """What a rollout leaves behind.

    samples (N, *shape): what a reward scores, in the order of identities. trunk_samples: finished without a draw.
    states (M, *shape): each state to train on, once. log_probs (R) float64, on the CPU. table (R, 10) int64: state, successor, step,
    sample, samples, parent, and the identity of the draw: prompt, seed, step, branch.
    """

    plan: Plan
    prompts: list[int]
    key: tuple[int, int]
    samples: torch.Tensor
    trunk_samples: torch.Tensor
    states: torch.Tensor
    log_probs: torch.Tensor
    table: torch.Tensor
    identities: list[Identity]
    reduction: str = "mean"
    terms: str = "all"
    mask: torch.Tensor | None = None  # (*shape): elements that were drawn and scored, where others were fixed
    spent: bool = False  # trained on once: what is drawn again is no longer on policy

    @typed
    def groups(self, of: str = "prompt") -> torch.Tensor:
        """A group id per sample (N): of "prompt" (prompt and step), "seed" (prompt, seed and step: siblings of one state),
        "step", or "depth", which is one per row. The same in every process."""
        return ops.groups(self.plan.chain.table, self.plan.nodes_table, self.prompts, of)

    @typed
    def fused_rewards(self, rewards, *, fusion: str = "mean", exclude_not_finite: bool = False) -> torch.Tensor:
        """A reward per row from one per sample (trees): their mean, or by path_probability."""
        return ops.fused_rewards(self.plan.chain.table, self.plan.nodes_table, self.prompts, self.log_probs,
                                 _numbers(rewards), fusion, exclude_not_finite)


def _evaluate(model, x, sigma: float, prompts: torch.Tensor, max_batch: int) -> torch.Tensor:
    """The model's velocities for rows of one noise level, max_batch of them in a call. Models may work in place, and return
    the same memory in each call."""
    velocities = None
    for first in range(0, x.shape[0], max_batch or x.shape[0]):
        rows = x[first:first + (max_batch or x.shape[0])].clone()
        ids = prompts[first:first + rows.shape[0]]
        v = model(rows, torch.full((rows.shape[0],), sigma, dtype=torch.float32, device=x.device), ids.to(x.device))
        if not isinstance(v, torch.Tensor) or v.shape != rows.shape:
            got = tuple(v.shape) if isinstance(v, torch.Tensor) else type(v).__name__
            raise ShapeError(f"roll_out: the model returned {got} for states {tuple(rows.shape)}, expected the same shape")
        if rows.shape == x.shape:
            return v
        velocities = v.new_empty(x.shape) if velocities is None else velocities
        velocities[first:first + rows.shape[0]] = v
    return velocities


class _Walk:
    """The states of a plan as they come about, node by node."""

    def __init__(self, plan: Plan, prompts: list[int], key, max_batch: int, check_velocities: bool, model, mask=None,
                 values=None) -> None:
        self.plan, self.prompts, self.key, self.mask, self.values = plan, prompts, key, mask, values
        self.max_batch, self.check, self.model = max_batch, check_velocities, model
        self.successors = [[] for _ in plan.nodes]
        for index, node in enumerate(plan.nodes):
            if node.parent >= 0:
                self.successors[node.parent].append(index)
        self.states, self.predictions = {}, {}  # by node, while a later step wants them
        self.kept, self.log_probs = {}, {}
        self.prompt_ids = torch.tensor(prompts, device="cpu")

    def ids(self, node: int) -> torch.Tensor:
        return ops.draw_ids(self.plan.chain.table, self.plan.nodes_table, self.prompts, node)

    def start(self, shape, dtype, device) -> None:
        for index, node in enumerate(self.plan.nodes):
            if node.move == START:
                states = _steps.noise(self.ids(index), shape, self.key, dtype=dtype, device=device)
                if self.mask is not None:
                    per_prompt = states.unflatten(0, (len(self.prompts), node.states))
                    states = torch.where(self.mask.bool(), per_prompt, self.values.unsqueeze(1)).flatten(0, 1)
                self.arrive(index, states)

    def arrive(self, index: int, states: torch.Tensor) -> None:
        node = self.plan.nodes[index]
        if node.kept or node.finished:
            self.kept[index] = states
        if self.successors[index]:
            self.states[index] = states

    def leave(self, knot: int) -> None:
        """All states at a knot go through the model together, then each node's states make their moves."""
        leaving = [i for i in self.states if self.plan.nodes[i].knot == knot]
        if not leaving:
            return
        leaving.sort()
        x = torch.cat([self.states[i] for i in leaving]) if len(leaving) > 1 else self.states[leaving[0]]
        prompts = torch.cat([self.prompt_ids.repeat_interleave(self.plan.nodes[i].states) for i in leaving])
        sigma = float(self.plan.chain.sigmas[knot])
        v = _evaluate(self.model, x, sigma, prompts, self.max_batch).detach()
        if self.check and not torch.isfinite(v).all():
            row = int(torch.nonzero(~torch.isfinite(v.reshape(len(v), -1)).all(1))[0])
            raise InvalidValueError(f"roll_out: the model's velocity is not finite at step {knot} (sigma = {sigma}), first for "
                                    f"prompt {int(prompts[row])}; check_velocities=False lets it pass")
        first = 0
        for index in leaving:
            count = self.states.pop(index).shape[0]
            rows = slice(first, first + count)
            self.move_on(index, x[rows], v[rows], sigma)
            first += count

    def move_on(self, index: int, x, v, sigma: float) -> None:
        prediction = None
        for following in self.successors[index]:
            node, move = self.plan.nodes[following], self.plan.moves[following, :7]
            if (node.remembers or node.looks_back) and prediction is None:
                prediction = _steps.ode_step(x, v, _transition(1.0, -sigma))
            if node.remembers:
                self.predictions[following] = prediction
            if node.move == DRAW:
                _, y, self.log_probs[following] = _steps.branch_step(x, v, move, self.ids(following), self.key, node.children,
                                                                     antithetic=self.plan.antithetic, mask=self.mask)
            elif node.looks_back:
                y = _steps.ode_step(x, prediction, _transition(*move[:2].tolist()))
                previous = float(self.plan.moves[following, 7])
                y = _steps.ode_step(y, self.predictions[index], _transition(1.0, previous))
                y = y if self.mask is None else torch.where(self.mask.bool(), y, x)
            else:
                y = _steps.ode_step(x, v, move, mask=self.mask)
            self.arrive(following, y)

    def gather(self, chosen, like: torch.Tensor) -> torch.Tensor:
        parts = [self.kept[i] for i, node in enumerate(self.plan.nodes) if chosen(node)]
        return torch.cat(parts) if parts else like[:0]


def _fixed(fixed, prompts: list[int], plan: Plan, shape: tuple, dtype, device) -> tuple:
    """The mask of fixed elements, and their values, (1 or P, *shape)."""
    if fixed is None:
        return None, None
    mask, values = fixed
    if tuple(mask.shape) != shape or mask.dtype not in (torch.bool, torch.uint8):
        raise ShapeError(f"roll_out: the mask of fixed elements is {mask.dtype} {tuple(mask.shape)}, expected bool or uint8 {shape}")
    values = values.unsqueeze(0) if tuple(values.shape) == shape else values
    if tuple(values.shape) not in ((1, *shape), (len(prompts), *shape)):
        raise ShapeError(f"roll_out: the values of fixed elements are {tuple(values.shape)}, expected {shape}, or "
                         f"{(len(prompts), *shape)} for the prompts")
    if values.dtype != dtype:
        raise InvalidValueError(f"roll_out: the values of fixed elements are {values.dtype}, expected {dtype}")
    if plan.redraw:
        raise InvalidValueError("roll_out: fixed elements and redraw: what is drawn again has no mask")
    return mask.to(device), values.to(device)


def _transition(alpha: float, beta: float) -> torch.Tensor:
    return torch.tensor([alpha, beta, 0, 0, 0, 0, 0], dtype=torch.float64, device="cpu")


@torch.no_grad()
@typed
def roll_out(model: Model, plan: Plan, prompts: Iterable[int], key: Key, *, shape: Sequence[int],
             dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", max_batch: int = 0,
             check_velocities: bool = True, fixed: tuple[torch.Tensor, torch.Tensor] | None = None) -> Rollout:
    """Rolls out a plan for each prompt.

    model(x, sigma, prompts) -> v: x (B, *shape), sigma (B) float32, prompts (B) int64 ids; v like x, in dtype or in 16 bits
    beside float32 states. It is called once per noise level (or max_batch rows at a time), under no_grad.
    prompts: distinct ids in [0, 2^32): identities of the noise, and what the model finds its embeddings by.
    key: (seed of the run, number of the update). max_batch never changes a result.
    fixed: what a condition gives to every state (a first frame): a mask like shape, whose zeros are fixed, and their values, like
    shape or (P, *shape). The other elements are drawn as without it, log-probs are of these, and minibatches have the mask.

    Raises ShapeError for a velocity or fixed elements of another shape, InvalidValueError for a velocity that is not finite.
    """
    if max_batch < 0:
        raise InvalidValueError(f"roll_out: max_batch = {max_batch}, must not be negative")
    prompts = _whole("roll_out", "prompts", prompts)
    table, samples = ops.rollout_tables(plan.chain.table, plan.nodes_table, prompts, plan.antithetic, plan.redraw)
    mask, values = _fixed(fixed, prompts, plan, tuple(shape), dtype, device)
    walk = _Walk(plan, prompts, tuple(key), max_batch, check_velocities, model, mask, values)
    walk.start(tuple(shape), dtype, device)
    for knot in range(len(plan.chain)):
        walk.leave(knot)
    like = next(iter(walk.kept.values()))
    log_probs = [walk.log_probs[i] for i, node in enumerate(plan.nodes) if node.trained]
    return Rollout(plan, prompts, tuple(key), walk.gather(lambda n: n.finished and n.drawn, like),
                   walk.gather(lambda n: n.finished and not n.drawn, like), walk.gather(lambda n: n.kept, like),
                   torch.cat(log_probs).cpu() if log_probs else torch.empty(0, dtype=torch.float64, device="cpu"), table,
                   [Identity(*numbers) for numbers in samples.tolist()], mask=mask)
