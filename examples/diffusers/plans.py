# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What methods.py is written in: windows, rollouts, weights and objectives."""

import random

import torch

import tempflow


class Course:
    """A method's way through one update: its chain, the steps that train, its rollout and the weights of its steps."""

    def __init__(self, method, options, processes, sigmas: torch.Tensor, update: int) -> None:
        self.method, self.options = method, options
        self.share, self.first_seed = processes.share, processes.first_seed
        if method.window:
            self.steps = method.window(options, update)
        else:
            self.steps = list(range(options.trained_steps))
        if method.on_finished:
            self.chain = tempflow.make_chain(sigmas, "ode")
        else:
            knots = _coarser(sigmas, self.steps[-1] + 1, method.completion)
            self.chain = tempflow.make_chain(knots, method.dynamics, options.noise_level, self.steps if method.window else None)
        self.plan = None if method.on_finished else method.rollout(self)
        self.weights = method.weights(self)


def _coarser(sigmas: torch.Tensor, first: int, share: float) -> torch.Tensor:
    """A grid that takes a share of the steps from knot `first` on, and one at least, spread evenly over them."""
    remaining = len(sigmas) - 1 - first
    if share == 1 or remaining == 0:
        return sigmas
    hops = max(int(remaining * share), 1)
    return sigmas[[*range(first + 1), *(first + (2 * i * remaining + hops) // (2 * hops) for i in range(1, hops + 1))]]


# Steps that draw noise: within the leading trained_steps.

def sliding_window(options, update: int) -> list[int]:
    """From the noisy end on, a step further every window_updates, and over again."""
    first = update // options.window_updates % (options.trained_steps - options.window + 1)
    return list(range(first, first + options.window))


def random_window(options, update: int) -> list[int]:
    """In the noisy half of the chain, the same in all processes."""
    last = max(min(options.steps // 2, options.trained_steps), options.window)
    first = random.Random(f"window {options.seed} {update}").randint(0, last - options.window)
    return list(range(first, first + options.window))


# Rollouts.

def trajectories(course: Course, **options):
    return tempflow.flow_plan(course.chain, samples_per_prompt=course.share, trained_steps=course.steps,
                              first_seed=course.first_seed, **options)


def trajectories_2m(course: Course):
    """The ODE's steps by DPM-Solver++ 2M."""
    return trajectories(course, solver="dpm_solver_2m")


def from_one_noise(course: Course):
    return trajectories(course, shared_noise=True)


def branches(course: Course):
    return tempflow.branch_plan(course.chain, seeds_per_prompt=course.share, explorations=course.options.explorations,
                                branch_steps=course.steps, first_seed=course.first_seed)


def _trees(course: Course, children: int, split_steps: list[int]):
    return tempflow.tree_plan(course.chain, trees_per_prompt=course.share, children=children, split_steps=split_steps,
                              trained_steps=course.steps, first_seed=course.first_seed)


def forks(course: Course):
    """Each noise's samples part at the first step that draws."""
    return _trees(course, course.options.explorations, course.steps[:1])


def trees(course: Course):
    """In two, at steps that are spread evenly from the first on."""
    splits = course.options.splits
    return _trees(course, 2, [i * len(course.steps) // splits for i in range(splits)])


# Weights of steps.

def equal_weights(course: Course) -> torch.Tensor:
    return torch.ones(len(course.chain), dtype=torch.float64)


def noise_weights(course: Course) -> torch.Tensor:
    return tempflow.timestep_weights(course.chain, course.steps)


def guard_weights(course: Course) -> torch.Tensor:
    """1 / dt, with mean 1, as learning rates are those of such weights."""
    return tempflow.timestep_weights(course.chain, course.steps, "guard", over="trained_steps")


# Objectives.

def _shared(options) -> dict:
    return {"advantage_clip": options.advantage_clip, "kl_beta": options.kl_beta}


def clipped(options):
    return tempflow.ClippedGRPO(clip=options.clip, **_shared(options))


def guard(options):
    return tempflow.GRPOGuard(clip=options.clip, **_shared(options))


def dppo(options):
    return tempflow.FlowDPPO(divergence_bound=options.divergence_bound, **_shared(options))


def gspo(options):
    return tempflow.SequenceGRPO(clip=options.clip, **_shared(options))


def nft(options):
    return tempflow.DiffusionNFT(mixture=options.mixture, **_shared(options))


def awm(options):
    return tempflow.AdvantageWeightedMatching(clip=options.clip, weight=options.matching_weight, **_shared(options))
