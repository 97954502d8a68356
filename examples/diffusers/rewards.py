# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards: functions of uint8 images (N, height, width, 3) and their prompts to N numbers, None where one does not apply.

Several are added up with their weights. They run on threads of their own while the next prompts are sampled. A reward
that fails for samples, after its retries, leaves them out: their number is nan.
"""

import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

import model_rewards
from distributed import device_of
from errors import TrainerError
from remote_rewards import ProgramReward, RewardError, ServerReward


def brightness(images, prompts) -> list[float]:
    """Mean of all pixels, from 0 to 1."""
    return [float(image.mean(dtype=np.float64)) / 255 for image in images]


def jpeg(images, prompts) -> list[float]:
    """-kB of the image as a JPEG file of quality 95: simple pictures win."""
    from PIL import Image
    sizes = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=95)
        sizes.append(-len(file.getvalue()) / 1000)
    return sizes


def _scorer(kind: str, argument: str, options):
    simple = {"brightness": brightness, "jpeg": jpeg}
    if kind in simple and not argument:
        return simple[kind]
    if kind in model_rewards.MODELS:
        return model_rewards.load(kind, argument, device_of(options.reward_device or options.device))
    if kind == "http":
        return ServerReward(argument, options.reward_timeout)
    if kind == "program":
        return ProgramReward(argument, options.reward_timeout)
    models = ", ".join(f"{name}=PATH" for name in model_rewards.MODELS)
    raise TrainerError(f"no reward {kind}; there are brightness, jpeg, {models}, http://... and program=COMMAND")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def parse_rewards(specifications) -> list[tuple[str, str, float]]:
    """(kind, argument, weight) of each reward."""
    parts = []
    for text in specifications:
        weight, star, rest = text.partition("*")
        whole = rest if star and _number(weight) is not None else text
        remote = whole.startswith(("http://", "https://", "program="))
        parts += [text] if remote else text.split(",")
    rewards = []
    for part in (p.strip() for p in parts):
        weight, star, rest = part.partition("*")
        factor, named = (_number(weight), rest) if star and _number(weight) is not None else (1.0, part)
        if named.startswith(("http://", "https://")):
            rewards.append(("http", named, factor))
            continue
        kind, _, argument = named.partition("=")
        if kind != "program":
            name, colon, weight = named.rpartition(":")
            if colon:
                if _number(weight) is None:
                    raise TrainerError(f"reward {part}: the weight {weight} is not a number")
                factor, (kind, _, argument) = factor * float(weight), name.partition("=")
        if not math.isfinite(factor):
            raise TrainerError(f"reward {part}: the weight is not finite")
        rewards.append((kind, argument, factor))
    return rewards


@dataclass
class Reward:
    """A reward by name, and how often it has failed."""

    name: str
    weight: float
    score: object
    failed: int = 0
    last_error: str = ""
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))


class Rewards:
    """All rewards of a run. Raises TrainerError at once for one that is not there or does not answer."""

    def __init__(self, options, prompts) -> None:
        self.retries, self.batch = options.reward_retries, options.reward_batch
        self.parts = []
        for kind, argument, weight in parse_rewards(options.reward):
            name = argument.rstrip("/").rpartition("/")[2] if kind == "http" else kind
            name += "" if name not in self.names else f"_{len(self.parts)}"
            self.parts.append(Reward(name, weight, _scorer(kind, argument, options)))
        probe = np.full((1, options.resolution, options.resolution, 3), 128, dtype=np.uint8)
        for reward in self.parts:
            self._score(reward, probe, [prompts[0]])
            if reward.failed:
                raise TrainerError(f"reward {reward.name}: {reward.last_error}")

    @property
    def names(self) -> list[str]:
        return [reward.name for reward in self.parts]

    def _score(self, reward: Reward, images, prompts) -> list[float]:
        numbers = []
        for first in range(0, len(images), self.batch):
            of = slice(first, first + self.batch)
            numbers += self._score_batch(reward, images[of], prompts[of])
        return numbers

    def _score_batch(self, reward: Reward, images, prompts) -> list[float]:
        for _ in range(self.retries + 1):
            try:
                scores = [math.nan if s is None else float(s) for s in reward.score(images, prompts)]
                if len(scores) != len(images):
                    raise ValueError(f"{len(scores)} scores for {len(images)} images")
                return scores
            except Exception as error:  # whatever a reward may raise, the run goes on without these samples
                kind = "" if isinstance(error, RewardError) else f"{type(error).__name__}: "
                reward.last_error = " ".join(f"{kind}{error}".split())[:300]
        reward.failed += len(images)
        return [math.nan] * len(images)

    def submit(self, images, prompts):
        """Begins to score images; the result is a function that waits for {name: numbers}."""
        begun = {r.name: r.worker.submit(self._score, r, images, prompts) for r in self.parts}
        return lambda: {name: future.result() for name, future in begun.items()}

    def total(self, scores: dict) -> np.ndarray:
        """The weighted sum; nan where a part of it is."""
        return sum(r.weight * np.asarray(scores[r.name], dtype=np.float64) for r in self.parts)

    def complaints(self) -> list[str]:
        """What failed since the last call."""
        found = [f"reward {r.name} failed for {r.failed} samples: {r.last_error}" for r in self.parts if r.failed]
        for reward in self.parts:
            reward.failed = 0
        return found

    def close(self) -> None:
        for reward in self.parts:
            reward.worker.shutdown(wait=False, cancel_futures=True)
            if hasattr(reward.score, "close"):
                reward.score.close()
