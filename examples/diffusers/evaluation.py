# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations: an image for each prompt by the ODE, of noise that is always the same, and its rewards."""

from pathlib import Path

import numpy as np

import tempflow
from credit import means
from report import save_grid

KEY = (0, 2**32 - 1)  # (seed, update) of the noise, in all runs


def sample(trainer, prompts):
    """Samples of the average policy."""
    with trainer.policy.averaged():
        return tempflow.sample(trainer.velocity, trainer.evaluation_chain, [p.id for p in prompts], KEY,
                               shape=trainer.model.shape, max_batch=trainer.options.model_batch,
                               device=trainer.model.latents_on)


def evaluate(trainer, update: int) -> dict:
    """Mean rewards, to log, and a grid of the images. Processes share the prompts; some are sampled twice where they do not
    divide, so that all run the model equally often."""
    processes, rewards, prompts = trainer.processes, trainer.rewards, trainer.evaluated
    mine = [prompts[(processes.rank + first) % len(prompts)] for first in range(0, len(prompts), processes.count)]
    trainer.model.prepare(prompts)
    waits, images = trainer.score(sample(trainer, mine), mine, keep_images=True)
    scores = trainer.wait(waits)
    everyone = processes.gather((scores, np.concatenate(images)))
    scores = {name: _in_order([each[0][name] for each in everyone], len(prompts)) for name in rewards.names}
    found = means({"reward": rewards.total(scores)} | scores)
    if processes.main:
        grid = _in_order([each[1] for each in everyone], len(prompts))
        save_grid(grid, Path(trainer.options.output) / "images" / f"update-{update:06}.png")
        told = ", ".join(f"{name} {mean:.4g}" for name, mean in found.items())
        print(f"evaluation after {update} updates: {told}", flush=True)
    return {f"evaluation_{name}": mean for name, mean in found.items()}


def _in_order(shares: list, count: int):
    """What the processes have of the prompts, prompt by prompt, without repeats."""
    return np.concatenate(np.stack(shares, 1))[:count]
