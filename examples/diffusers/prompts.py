# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Prompts, from text files and GenEval's jsonl, and which of them an update trains on."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from errors import TrainerError

TINY_PROMPTS = ("a lantern in the snow", "a white cup on a table", "sunlight on a wall", "a city at night")


@dataclass(frozen=True)
class Prompt:
    """A text, its id (the name of its noise and of its embeddings), and what a reward may want to know about it."""

    id: int
    text: str
    metadata: dict = field(default_factory=dict)


def _of_line(path: str, number: int, line: str) -> tuple[str, dict]:
    if not path.endswith((".jsonl", ".json")):
        return line, {}
    try:
        record = json.loads(line)
        prompt = record["prompt"]
        if not isinstance(record, dict) or not isinstance(prompt, str):
            raise TypeError
        prompt.encode()  # half of a surrogate pair is no text
        return prompt, record
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TrainerError(f"prompts {path}, line {number}: expected a JSON object with a \"prompt\"") from None


def read_prompts(path: str, first_id: int = 0) -> list[Prompt]:
    """The prompts of a file, blank lines left out. Raises TrainerError if it has none."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # splitlines() would part a text at U+2028, too
    except (OSError, ValueError) as error:  # also of a path that is none
        raise TrainerError(f"prompts {path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None
    records = [_of_line(path, number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not records:
        raise TrainerError(f"prompts {path}: no prompt in it; expected one a line")
    return [Prompt(first_id + i, text, metadata) for i, (text, metadata) in enumerate(records)]


def load_prompts(training: str, evaluation: str, per_update: int, images: int) -> tuple[list[Prompt], list[Prompt]]:
    """Training and evaluation prompts."""
    prompts = read_prompts(training) if training else [Prompt(i, text) for i, text in enumerate(TINY_PROMPTS)]
    if per_update > len(prompts):
        raise TrainerError(f"prompts_per_update is {per_update}, of {len(prompts)} prompts")
    evaluated = read_prompts(evaluation, len(prompts)) if evaluation else prompts
    return prompts, evaluated[:images]


def prompts_of_update(prompts: list[Prompt], count: int, seed: int, update: int) -> list[Prompt]:
    """The prompts of an update: the same in every process, and after a resume."""
    return random.Random(f"{seed} {update}").sample(prompts, count)
