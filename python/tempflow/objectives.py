# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a loss is made of: parameters, by name. The formulas are the library's (objective/*.hpp), and so are the defaults.

    loss, statistics = tempflow.policy_loss(v, batch, tempflow.GRPOGuard(clip=(2e-6, 4e-6)), v_old=v_old)

`clip` is one number or (low, high). `kl_over`: transition_variance, diffusion, unit or velocity, the denominator of the KL
to the reference policy, which every objective adds times `kl_beta`. Advantages are clamped to +-advantage_clip.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from ._operators import ops
from .errors import InvalidValueError

Clip = float | tuple[float, float]
_DEFAULT: Any = None  # the library's


class Objective:
    """Base of all."""

    name: ClassVar[str]
    _library: ClassVar[dict[str, Any]]  # parameters as the library orders and sets them
    kl_beta: float = 0.0

    def parameters(self) -> tuple[str, list[float], list[str]]:
        """What operators take: name, numbers and words."""
        numbers: list[float] = []
        words: list[str] = []
        for parameter in self._library:
            value = getattr(self, parameter)
            if parameter == "clip":
                numbers.extend(_bounds(value))
            elif isinstance(value, str):
                words.append(value)
            else:
                numbers.append(float(value))
        return self.name, numbers, words


def _bounds(clip: Clip) -> tuple[float, float]:
    bounds = tuple(clip) if isinstance(clip, (tuple, list)) else (clip, clip)
    if len(bounds) != 2:
        raise InvalidValueError(f"policy_loss: clip = {clip}, expected one number or (low, high)")
    return float(bounds[0]), float(bounds[1])


def _defaults_of(name: str):
    """Gives a class its defaults."""

    def give(cls):
        cls.name, cls._library = name, json.loads(ops.objective_defaults(name))
        if set(cls.__annotations__) != set(cls._library):
            raise TypeError(f"tempflow: {cls.__name__} has {list(cls.__annotations__)}, the library {list(cls._library)}")
        for parameter, value in cls._library.items():
            setattr(cls, parameter, tuple(value) if isinstance(value, list) else value)
        return cls

    return give


@dataclass(frozen=True)
@_defaults_of("clipped_grpo")
class ClippedGRPO(Objective):
    """L = w max(-A r, -A clip(r)): Flow-GRPO, TempFlow-GRPO. clipped_grpo.hpp"""

    clip: Clip = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("dual_clipped_grpo")
class DualClippedGRPO(Objective):
    """ClippedGRPO whose ratio counts up to max_ratio where A < 0. dual_clipped_grpo.hpp"""

    clip: Clip = _DEFAULT
    max_ratio: float = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("grpo_guard")
class GRPOGuard(Objective):
    """The clipped surrogate of a centred ratio, log r' = mean(z (mu - mu_old)). Needs v_old; its weights are
    guard_weights. grpo_guard.hpp"""

    clip: Clip = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("flow_dppo")
class FlowDPPO(Objective):
    """No clip, but rows whose KL to the rollout's policy reaches divergence_bound may only come back. Needs v_old.
    flow_dppo.hpp"""

    divergence_bound: float = _DEFAULT
    divergence_over: str = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("diffusion_nft")
class DiffusionNFT(Objective):
    """The velocity towards finished samples, and away from them. Needs v_old, y = x0 with clean_transitions, and by its
    default kl_beta v_ref; no old log-probs. diffusion_nft.hpp"""

    mixture: float = _DEFAULT
    advantage_clip: float = _DEFAULT
    min_weight: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("advantage_weighted_matching")
class AdvantageWeightedMatching(Objective):
    """The flow-matching loss in place of a log-prob: AWM; with weight uniform FPO. weight: uniform, time, time_squared,
    huber or quartic_root. Needs y = x0 with clean_transitions, and log-probs with terms="squared_error".
    advantage_weighted_matching.hpp"""

    clip: Clip = _DEFAULT
    weight: str = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("sequence_grpo")
class SequenceGRPO(Objective):
    """One ratio for all trained steps of a sample: ratio = mean is GSPO, mean_of_clipped GMPO. For policy_scores, with
    `sequences`. sequence_grpo.hpp"""

    clip: Clip = _DEFAULT
    ratio: str = _DEFAULT
    advantage_clip: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT


@dataclass(frozen=True)
@_defaults_of("preference_pairs")
class PreferencePairs(Objective):
    """Diffusion-DPO: of two finished samples the better is made more likely, against v_ref. For policy_scores, with
    `pairs`; no old log-probs, no advantages. preference_pairs.hpp"""

    beta: float = _DEFAULT
    kl_beta: float = _DEFAULT
    kl_over: str = _DEFAULT
