# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is compared: methods, the settings that each may be tuned by, and the tasks."""

import itertools
from dataclasses import dataclass


def grid(**choices):
    """All combinations, as options of fashion_mnist: grid(kl_beta=(.4, .6)) -> [{"--kl-beta": ".4"}, ...]."""
    names = ["--" + name.replace("_", "-") for name in choices]
    return [dict(zip(names, map(str, values))) for values in itertools.product(*choices.values())]


@dataclass(frozen=True, eq=False)
class Method:
    name: str
    title: str
    options: dict  # what makes the method
    tuning: list  # what it may be tuned by: as many settings for each method

    def setting(self, choice):
        return {**self.options, **choice}


COMMON = {"--updates": "40", "--evaluate-every": "4", "--final-rate": "0.1", "--explorations": "6"}
BRANCH = {**COMMON, "--method": "tempflow-grpo", "--completion": "2,2,1", "--optimizer-steps": "2"}
FLOW = {**COMMON, "--method": "flow-grpo", "--antithetic": "false", "--optimizer-steps": "2"}
# With one noise per prompt, several optimiser steps would each see other prompts.
SHARED = {**FLOW, "--shared-noise": "true", "--optimizer-steps": "1"}
GRID = grid(seeds=(2, 4), learning_rate=("1e-3", "2e-3", "3e-3"), kl_beta=("0.4", "0.6", "1.0"))

METHODS = [
    Method("tempflow", "TempFlow-GRPO, antithetic branches", {**BRANCH, "--antithetic": "true"}, GRID),
    Method("tempflow-independent", "TempFlow-GRPO, independent branches", {**BRANCH, "--antithetic": "false"}, GRID),
    Method("flow", "Flow-GRPO", FLOW, GRID),
    Method("flow-shared", "Flow-GRPO, one noise per prompt", SHARED, GRID),
    Method("mix-window", "MixGRPO: 4 noisy steps, one noise per prompt", {**SHARED, "--window": "4"}, GRID),
]


@dataclass(frozen=True, eq=False)
class Task:
    """What is learnt, the column that says how well, and the levels of it that are asked for."""
    name: str
    title: str
    options: dict
    column: str
    levels: tuple
    frechet_limit: float  # further from the data no level counts as reached


TASKS = [
    Task("classifier", "prompt following, judged by a classifier that training never sees", {}, "judge",
         (0.80, 0.84, 0.86, 0.88), 3.5),
    Task("jpeg", "JPEG size (the reward: minus kilobytes)", {"--reward": "jpeg"}, "reward",
         (-0.785, -0.780, -0.775), float("inf")),
]
