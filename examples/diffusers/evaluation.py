# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations: an image for each prompt by the ODE, of noise that is always the same, and its rewards."""

from pathlib import Path

import numpy as np
import torch

import tempflow
from report import save_grid

KEY = (0, 2**32 - 1)  # (seed, update) of the noise, in all runs


@torch.no_grad()
def sample(trainer, prompts) -> torch.Tensor:
    """Samples of the average policy."""
    ids = torch.tensor([[p.id, 0, 0, 0] for p in prompts], dtype=torch.int64).reshape(-1, 4)
    finished = [torch.empty(0, *trainer.model.shape)]
    size = trainer.options.model_batch or max(len(prompts), 1)
    with trainer.policy.averaged():
        for first in range(0, len(prompts), size):
            some = ids[first:first + size]
            x = tempflow.noise(some, trainer.model.shape, KEY)
            for transition in trainer.evaluation_chain.table:
                sigma = transition[3].float().expand(len(some))
                x = tempflow.ode_step(x, trainer.velocity(x, sigma, some[:, 0]), transition)
            finished.append(x)
    return torch.cat(finished)


def evaluate(trainer, update: int) -> dict:
    """Mean rewards, to log, and a grid of the images. Processes share the prompts."""
    processes, rewards = trainer.processes, trainer.rewards
    mine = trainer.evaluated[processes.rank::processes.count]
    trainer.model.prepare(trainer.evaluated)
    waits, images = trainer.score(sample(trainer, mine), mine, keep_images=True)
    gathered = processes.gather((trainer.wait(waits), images))
    scores = {name: np.concatenate([each[0][name] for each in gathered]) for name in rewards.names}
    found = {"reward": rewards.total(scores)} | scores
    means = {name: float(np.nanmean(s)) if np.isfinite(s).any() else float("nan") for name, s in found.items()}
    if processes.main:
        grid = np.concatenate([batch for each in gathered for batch in each[1]])
        save_grid(grid, Path(trainer.options.output) / "images" / f"update-{update:06}.png")
        told = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        print(f"evaluation after {update} updates: {told}", flush=True)
    return {f"evaluation_{name}": mean for name, mean in means.items()}
