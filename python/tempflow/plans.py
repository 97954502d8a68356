# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Plans: what a rollout visits, as tables of the library's."""

from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from ._operators import ops
from .errors import typed
from .schedule import Chain

_NODE = ("move", "parent", "knot", "children", "states", "first_seed", "seeds", "first_branch", "solver", "trained",
         "finished", "kept", "drawn", "remembers", "looks_back")
Node = namedtuple("Node", _NODE)
Node.__doc__ = "States with the same history of moves: forest_node, and what its rollout does with them."
START, ODE, DRAW = range(3)

Cost = namedtuple("Cost", ("model_evaluations", "model_calls", "sequential_calls", "samples", "trained_states",
                           "trained_rows", "bytes", "working_bytes", "forward_passes"))
Cost.__doc__ = "What a rollout takes, and training on it: rollout_cost."


@dataclass(frozen=True, eq=False)
class Plan:
    """What a rollout visits, per prompt, as tables: nodes (N, 15) and the move to each (N, 8). Made by branch_plan,
    flow_plan or tree_plan."""

    chain: Chain
    nodes_table: torch.Tensor
    moves: torch.Tensor
    antithetic: bool = False
    redraw: bool = False

    @cached_property
    def nodes(self) -> list[Node]:
        return [Node(*numbers) for numbers in self.nodes_table.tolist()]

    @typed
    def cost(self, prompts: int, *, dimension: int = 0, element_size: int = 4, max_batch: int = 0) -> Cost:
        """What it takes: model rows and calls, samples to score, states to train on, bytes.

        dimension: elements of a sample (math.prod(shape)); 0: bytes are those of log-probs alone. element_size: bytes of one."""
        return Cost(*ops.cost(self.chain.table, self.nodes_table, prompts, dimension, element_size, max_batch).tolist())


@typed
def branch_plan(chain: Chain, *, seeds_per_prompt: int = 4, explorations: int = 6, branch_steps: Sequence[int] = (),
                completion_steps: Sequence[int] = (0,), completion_solver: str = "one_step",
                finish_trunk: bool = False, antithetic: bool = False, shared_noise: bool = False, first_seed: int = 0,
                redraw: bool = False) -> Plan:
    """TempFlow-GRPO: an ODE trunk per seed, K explorations at each branching step, each completed by the ODE.

    branch_steps: ascending; empty: the chain's trainable steps. completion_steps: ODE steps that finish a branch, at most,
    one number or one for each branching step; 0: all. completion_solver: one_step (Euler) or dpm_solver_2m. finish_trunk:
    also finish each trunk, as trunk_samples. antithetic: explorations in pairs z, -z; their number is even. shared_noise: all
    seeds of a prompt start from the same noise. first_seed: number of the first seed, for processes that collect one group.
    redraw: successors are not stored but drawn again to train on them.

    Raises InvalidValueError for counts that make no sense, ScheduleError for branching steps that do not ascend or draw no
    noise. Source: TempFlow-GRPO, arXiv 2508.04324, section 3.2.
    """
    nodes, moves = ops.branch_forest(chain.table, seeds_per_prompt, explorations, list(branch_steps), list(completion_steps),
                                     completion_solver, finish_trunk, antithetic, shared_noise, first_seed, redraw)
    return Plan(chain, nodes, moves, antithetic, redraw)


@typed
def flow_plan(chain: Chain, *, samples_per_prompt: int = 24, trained_steps: Sequence[int] = (), shared_noise: bool = False,
              solver: str = "one_step", antithetic: bool = False, first_seed: int = 0, redraw: bool = False) -> Plan:
    """Flow-GRPO: every stochastic step draws noise, one reward credits all of them. On a chain with a window of stochastic
    steps MixGRPO's; with shared noise DanceGRPO's.

    solver: of the deterministic steps, one_step (Euler) or dpm_solver_2m (MixGRPO-Flash)."""
    nodes, moves = ops.flow_forest(chain.table, samples_per_prompt, list(trained_steps), shared_noise, solver, antithetic,
                                   first_seed, redraw)
    return Plan(chain, nodes, moves, antithetic, redraw)


@typed
def tree_plan(chain: Chain, *, trees_per_prompt: int = 1, children: int = 2, split_steps: Sequence[int] = (0, 3, 6, 9),
              trained_steps: Sequence[int] = (),
              antithetic: bool = False, first_seed: int = 0, redraw: bool = False) -> Plan:
    """BranchGRPO: trees whose states part at chosen steps. Source: arXiv 2509.06040, section 3."""
    nodes, moves = ops.tree_forest(chain.table, trees_per_prompt, children, list(split_steps), list(trained_steps),
                                   antithetic, first_seed, redraw)
    return Plan(chain, nodes, moves, antithetic, redraw)
