# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Sigma grids and chains."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch

from ._operators import ops
from .errors import ShapeError, typed


@typed
def sigmas(model: str, steps: int, *, image_tokens: int | None = None, shift: float | None = None) -> torch.Tensor:
    """The sigma grid that a model samples with: steps + 1 noise levels, descending, float64.

    model: sd3, flux, flux_2, qwen_image, qwen_image_lightning, ltx, wan, hunyuan_video or shifted_linspace.
    image_tokens: latent patches of an image, for grids that depend on them (flux, flux_2, qwen_image, ltx).
    shift: the static shift, of the others. What is left out has the model's published value.

    >>> tempflow.sigmas("sd3", 10)[:3]
    tensor([1.0000, 0.9601, 0.9133], dtype=torch.float64)
    """
    return ops.sigmas(model, steps, image_tokens, shift)


@dataclass(frozen=True, eq=False)
class Chain:
    """The transitions of a whole sampling run: y = alpha x + beta v + std z at each of T steps, noisy to clean.

    table: (T, 7) float64, a row a transition: alpha, beta, std, sigma, sigma_next, dt, diffusion.
    """

    table: torch.Tensor

    def __len__(self) -> int:
        return self.table.shape[0]

    def __getitem__(self, step) -> torch.Tensor:
        """The transition of a step (7), or of a slice or an index tensor of steps (n, 7)."""
        return self.table[step]

    @property
    def sigmas(self) -> torch.Tensor:
        """The T + 1 noise levels."""
        return torch.cat([self.table[:, 3], self.table[-1:, 4]])

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of each step's noise (T); 0 where it is deterministic."""
        return self.table[:, 2]

    @typed
    def trainable_steps(self) -> list[int]:
        """Steps worth exploring and training: those that draw noise, but the last, whose density is all but singular."""
        return ops.trainable_steps(self.table).tolist()

    @classmethod
    def from_scheduler(cls, scheduler, dynamics: str = "flow_sde", noise_level: float | None = None,
                       stochastic_steps: list[int] | None = None) -> "Chain":
        """The chain on a diffusers scheduler's own grid, after its set_timesteps."""
        grid = getattr(scheduler, "sigmas", None)
        if grid is None or len(grid) < 2:
            raise ShapeError(f"from_scheduler: {type(scheduler).__name__} has no sigmas; call its set_timesteps first")
        return make_chain(grid, dynamics, noise_level, stochastic_steps)


@typed
def make_chain(sigmas, dynamics: str = "flow_sde", noise_level: float | None = None,
               stochastic_steps: list[int] | None = None) -> Chain:
    """A chain on a sigma grid.

    sigmas: T + 1 noise levels, descending from 1 or below to 0 or above, as a tensor, an array or a list.
    dynamics: flow_sde (Flow-GRPO), flow_cps (Flow-CPS), dance_sde (DanceGRPO), wan_sde, ddim, or ode.
    noise_level: a of flow_sde and flow_cps, eta of dance_sde and ddim; None: the published value.
    stochastic_steps: those that draw noise, ascending; the others are the ODE's. None: all.

    Raises ScheduleError for a grid that does not descend, and a step outside its stable range.

    >>> chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
    """
    knots = torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").detach()
    return Chain(ops.make_chain(knots, dynamics, noise_level, stochastic_steps))


@typed
def clean_transitions(sigmas) -> torch.Tensor:
    """The transitions from noise levels (B), each in (0, 1], to the data, without noise: (B, 7). With y = x0 they are those of
    objectives that train on finished samples: DiffusionNFT, AdvantageWeightedMatching, PreferencePairs."""
    return ops.clean_transitions(torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").detach().contiguous())


@typed
def timestep_weights(chain: Chain, trained_steps: Sequence[int], form: str = "noise_aware", *,
                     over: str | None = None) -> torch.Tensor:
    """How much each step's loss counts: (T) float64.

    form: noise_aware, proportional to std (TempFlow-GRPO, arXiv 2508.04324, eqs. 7 and 8); uniform, 1 (Flow-GRPO);
    flat_gradient, proportional to std / |beta|, which gives the gradient one size at every step (Flash-GRPO, arXiv 2605.15980);
    guard, 1 / dt, for GRPOGuard, or guard_langevin (GRPO-Guard, arXiv 2510.22319). over: what they have mean 1 over,
    trained_steps, all_steps or none of these; None: as published, trained_steps, and none for guard.

    trained_steps: ascending. Raises ScheduleError where they are none, do not ascend or draw no noise, and InvalidValueError
    for another form.
    """
    if over is None:
        over = "none" if form.startswith("guard") else "trained_steps"
    return ops.timestep_weights(chain.table, list(trained_steps), form, over)


@typed
def preset(name: str) -> SimpleNamespace:
    """Published hyper-parameters of one model: the fields of preset (training/presets.hpp), and its two sigma grids.

    name: sd3_5_medium, sd3_5_medium_pickscore, flux_1_dev, flux_1_dev_pickscore, qwen_image or wan_2_1. A number that the
    model has not is None.
    """
    return SimpleNamespace(**json.loads(ops.preset(name)))
