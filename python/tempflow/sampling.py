# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Plain sampling, to evaluate a model: nothing is kept to train on."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from .plans import DRAW, ODE, START, Node, Plan
from .rollout import Model, roll_out
from .schedule import Chain
from .steps import Key


def _paths(chain: Chain, samples_per_prompt: int, first_seed: int) -> Plan:
    """Trajectories that never part: each step draws where the chain does, and else is the ODE's."""
    draws = (chain.std > 0).tolist()
    start = Node(START, parent=-1, knot=0, children=samples_per_prompt, states=samples_per_prompt, first_seed=first_seed,
                 seeds=samples_per_prompt, first_branch=0, solver=0, trained=0, finished=0, kept=0, drawn=0, remembers=0,
                 looks_back=0)
    nodes = [start] + [start._replace(move=DRAW if draw else ODE, parent=step, knot=step + 1, children=1,
                                      finished=int(step + 1 == len(chain)), drawn=int(any(draws[:step + 1])))
                       for step, draw in enumerate(draws)]
    return Plan(chain, torch.tensor(nodes, device="cpu"), F.pad(chain.table, (0, 1, 1, 0)))  # a start has no move, nothing looks back


def sample(model: Model, chain: Chain, prompts: Iterable[int], key: Key, *, shape: Sequence[int], samples_per_prompt: int = 1,
           first_seed: int = 0, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", max_batch: int = 0,
           check_velocities: bool = True) -> torch.Tensor:
    """Samples of each prompt in turn, (prompts x samples_per_prompt, *shape), by a chain of its own: the ODE's, or an SDE's.

        chain = tempflow.make_chain(tempflow.sigmas("sd3", 40), "ode")
        images = decode(tempflow.sample(model, chain, prompts, key=(42, 0), shape=(16, 64, 64)))

    model, prompts, key and errors are those of roll_out; seeds are numbered from first_seed on. A chain that draws at each
    step gives the samples of flow_plan.
    """
    rollout = roll_out(model, _paths(chain, samples_per_prompt, first_seed), prompts, key, shape=shape, dtype=dtype,
                       device=device, max_batch=max_batch, check_velocities=check_velocities)
    return torch.cat([rollout.samples, rollout.trunk_samples])  # one of them is empty
