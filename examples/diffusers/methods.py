# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What --method names: of each method its rollout, which of its steps draw noise, the groups, weights and objective, and what of
the rollout it trains on. Where a paper publishes numbers of its own they stand in the place of the model's preset."""

from collections.abc import Callable
from dataclasses import dataclass, field

import plans


@dataclass(frozen=True)
class Method:
    """A line of the table. Functions are of a plans.Course, or of the run's options."""

    about: str
    source: str
    rollout: Callable | None  # a plan of the course; None: finished samples of the ODE
    dynamics: str = "flow_sde"
    window: Callable | None = None  # (options, update) -> steps that draw noise and train; None: the leading trained_steps
    completion: float = 1.0  # of the steps behind a window, how many are walked
    seeds_explore: bool = False  # a noise has --explorations samples (or a tree of them); else each sample has its own noise
    groups: str | None = None  # of Rollout.groups; None: --group
    std: str = "population"  # of a group's rewards
    weights: Callable = plans.equal_weights
    objective: Callable = plans.clipped
    sequences: bool = False  # a sample's rows share a ratio
    dealt_by: str = "seed"  # to an update's optimiser steps
    terms: str = "all"  # of log-probs: tempflow.log_prob's
    old: str | None = None  # velocities of the policy that sampled: "rollout", or of its slow "average"
    skips_zeros: bool = True  # rows of advantage 0 teach nothing, without KL
    defaults: dict = field(default_factory=dict)

    @property
    def on_finished(self) -> bool:
        return self.rollout is None


METHODS = {
    "tempflow-grpo": Method(
        "branches at each step of an ODE trunk; a branch's reward credits its step, weighted by the step's noise (--group seed: "
        "only siblings are compared)", "TempFlow-GRPO, arXiv 2508.04324",
        rollout=plans.branches, seeds_explore=True, weights=plans.noise_weights),
    "flow-grpo": Method(
        "whole SDE trajectories; a sample's reward credits all its steps alike", "Flow-GRPO, arXiv 2505.05470",
        rollout=plans.trajectories),
    "flow-grpo-fast": Method(
        "an ODE but for --window SDE steps at a random place; a noise's samples share the way there",
        "Flow-GRPO-Fast, github.com/yifan123/flow_grpo",
        rollout=plans.forks, seeds_explore=True, window=plans.random_window, defaults={"window": 2}),
    "dance-grpo": Method(
        "whole trajectories of DanceGRPO's SDE; all samples of a prompt start from one noise", "DanceGRPO, arXiv 2505.07818",
        rollout=plans.from_one_noise, dealt_by="branch", dynamics="dance_sde", std="sample",
        defaults={"noise_level": 0.3, "kl_beta": 0.0, "advantage_epsilon": 1e-8}),
    "mix-grpo": Method(
        "SDE steps in a window of --window that slides from the noisy end on, the ODE elsewhere", "MixGRPO, arXiv 2507.21802",
        rollout=plans.trajectories, window=plans.sliding_window, defaults={"kl_beta": 0.0}),
    "mix-grpo-flash": Method(
        "mix-grpo that walks 0.4 of the steps behind its window, by DPM-Solver++ 2M", "MixGRPO-Flash, arXiv 2507.21802",
        rollout=plans.trajectories_2m, window=plans.sliding_window, completion=0.4,
        defaults={"window_updates": 20, "kl_beta": 0.0}),
    "branch-grpo": Method(
        "trees of SDE trajectories that part at --splits steps; a step's reward is the mean of its leaves', compared within a "
        "tree's depth", "BranchGRPO, arXiv 2509.06040",
        rollout=plans.trees, seeds_explore=True, dynamics="dance_sde", groups="depth", std="sample",
        defaults={"noise_level": 0.3, "kl_beta": 0.0, "advantage_epsilon": 1e-8}),
    "grpo-guard": Method(
        "flow-grpo whose ratio is centred and has one spread at all steps, and whose gradient has one size there",
        "GRPO-Guard, arXiv 2510.22319",
        rollout=plans.trajectories, weights=plans.guard_weights, objective=plans.guard, old="rollout",
        defaults={"clip": 2e-6}),
    "dppo": Method(
        "flow-grpo without a clip: rows whose KL to the rollout's policy is above --divergence-bound may only come back",
        "Flow-DPPO, verl-omni", rollout=plans.trajectories, objective=plans.dppo, old="rollout"),
    "gspo": Method(
        "flow-grpo with one ratio per sample, that of the mean over its steps", "GSPO, arXiv 2507.18071",
        rollout=plans.trajectories, objective=plans.gspo, sequences=True),
    "nft": Method(
        "no SDE and no ratio: finished samples, noised again, pull the velocity to good ones and away from bad ones",
        "DiffusionNFT, arXiv 2509.16117",
        rollout=None, objective=plans.nft, old="average", skips_zeros=False, defaults={"kl_beta": 1e-4, "guidance": 1.0}),
    "awm": Method(
        "no SDE: the flow-matching loss of finished samples, noised again, is the log-prob of a clipped ratio",
        "AWM, arXiv 2509.25050",
        rollout=None, objective=plans.awm, terms="squared_error", old="rollout", defaults={"clip": 1e-5, "kl_beta": 0.0}),
}


def listing() -> str:
    """All methods, as --method help prints them."""
    width = max(map(len, METHODS))
    return "\n".join(f"  {name:{width}}  {method.about}\n  {'':{width}}  [{method.source}]" for name, method in METHODS.items())
