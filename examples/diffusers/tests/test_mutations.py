# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is read from outside, changed at random: prompt files, answers of rewards, checkpoints. Each is taken for what it is,
or refused by the error that a user reads; nothing else is raised.

TEMPFLOW_MUTATIONS=20000 tries as many changes of each, for a longer run by hand. A seed names a change.
"""

import json
import math
import os
import random
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import checkpoint
from durable import seal
from errors import TrainerError
from prompts import read_prompts
from remote_rewards import ProgramReward, RewardError, scores_of

COUNT = int(os.environ.get("TEMPFLOW_MUTATIONS", 300))
PIECES = [b'"', b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\r\n", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"\\ud800",
          b"\\u0000", b"\xff", b"\xef\xbb\xbf", "\u2028\x85".encode(), b"[" * 3000, b"true", b"-", b"0", b"\0", b"scores", b"prompt"]


def mutated(seed: bytes, choice: random.Random) -> bytes:
    """Some bytes of it changed, left out, repeated, or replaced by pieces of what is parsed."""
    data = bytearray(seed)
    for _ in range(choice.randint(1, 4)):
        first = choice.randint(0, len(data))
        last = min(len(data), first + choice.choice((0, 1, 1, 4, 16)))
        kind = choice.randrange(5)
        if kind == 0 and last > first:
            data[first] ^= 1 << choice.randrange(8)
        elif kind == 1:
            data[first:last] = choice.choice(PIECES)
        elif kind == 2:
            data[first:last] = choice.randbytes(choice.randint(0, 8))
        elif kind == 3:
            data[first:first] = data[first:last]
        else:
            del data[first if choice.randrange(2) else last:]
    return bytes(data)


def changes(seeds: list[bytes], name: str, count: int = COUNT):
    for number in range(count):
        choice = random.Random(f"{name} {number}")
        yield mutated(choice.choice(seeds), choice)


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.jsonl"])
def test_prompts(name, tmp_path):
    texts = ["a cat", "zwei Hunde\u2028und \u00e4", "a \"quoted\" word"]
    lines = texts if name.endswith("txt") else [json.dumps({"prompt": t, "tag": [1]}, ensure_ascii=i % 2) for i, t in enumerate(texts)]
    place, taken = tmp_path / name, 0
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [p.text for p in read_prompts(str(place))] == texts  # a separator of lines within a text parts nothing
    for data in changes([place.read_bytes()], name):
        place.write_bytes(data)
        try:
            prompts = read_prompts(str(place), 5)
        except TrainerError as error:
            assert name in str(error)
            continue
        taken += 1
        assert [p.id for p in prompts] == list(range(5, 5 + len(prompts))) and prompts
        assert all(isinstance(p.text, str) and p.text.encode() and isinstance(p.metadata, dict) for p in prompts)
    assert 0 < taken < COUNT


ANSWERS = [b'{"scores": [0.5, null, -1]}\n', b'{"scores": [1, 2e3], "more": {"a": [true]}}\n', b'{"scores": []}\n']


def test_answers_of_rewards():
    taken = 0
    for answer in changes(ANSWERS, "answers"):
        try:
            scores = scores_of(answer)
        except RewardError:
            continue
        taken += 1
        assert isinstance(scores, list) and all(s is None or isinstance(s, float) for s in scores)
    assert 0 < taken < COUNT


@pytest.mark.parametrize("answer", [
    b'{"scores": "123"}', b'{"scores": {"1": 2}}', b'{"scores": ["0.5"]}', b'{"scores": [true]}', b'{"scores": [[1]]}', b"[" * 100000,
    b'{"scores": [1' + b"0" * 400 + b"]}"])
def test_answers_that_are_no_numbers(answer):
    with pytest.raises(RewardError):
        scores_of(answer)


def test_numbers_that_are_not_finite_stay_so():
    assert math.isnan(scores_of(b'{"scores": [NaN]}')[0]) and scores_of(b'{"scores": [1e999]}') == [math.inf]


def test_a_program_that_answers_twice(tmp_path):
    """The second line would be taken for the answer to the next request."""
    script = tmp_path / "twice.py"
    script.write_text("import sys\nfor n, line in enumerate(sys.stdin): print('{\"scores\": [%d]}\\n{\"scores\": [7]}' % n, flush=True)")
    program = ProgramReward(f"{sys.executable} {script}", 20)
    try:
        with pytest.raises(RewardError, match="more than one line"):
            for _ in range(100):  # the second line may be on its way
                assert program([], []) == [0.0]
    finally:
        program.close()


def _policy():
    weights = {"a.lora_A": torch.nn.Parameter(torch.ones(2, 3)), "b.lora_B": torch.nn.Parameter(torch.zeros(4))}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3)
    for p in weights.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    kept = SimpleNamespace(weights=weights, averages={n: p.detach() * 2 for n, p in weights.items()}, optimizer=optimizer,
                           scaler=torch.amp.GradScaler("cpu"), steps=3, put_back=None)
    kept.put = lambda tensors: setattr(kept, "put_back", tensors)
    return kept


@pytest.mark.parametrize("name", ["lora.safetensors", "ema.safetensors", "state.pt"])
def test_checkpoints(name, tmp_path):
    policy, place = _policy(), tmp_path / "update-000007"
    options = SimpleNamespace(resume=str(place), output=str(tmp_path), model="sd3", method="tempflow-grpo", lora_rank=4)
    place.mkdir()
    about = {"tempflow": json.dumps({n: getattr(options, n) for n in ("model", "method", "lora_rank")})}
    for file, tensors in (("lora", policy.weights), ("ema", policy.averages)):
        save_file({n: t.detach().clone() for n, t in tensors.items()}, place / f"{file}.safetensors", about)
    torch.save({"update": 7, "steps": 3, "optimizer": policy.optimizer.state_dict(), "scaler": policy.scaler.state_dict()},
               place / "state.pt")
    seal(place)
    assert checkpoint.load(checkpoint.find(options), options, policy) == 7
    whole, refused = (place / name).read_bytes(), 0
    for data in changes([whole], name, COUNT // 3):  # a millisecond each and more
        (place / name).write_bytes(data)
        seal(place)  # what has its checksum is parsed
        fresh = _policy()
        try:
            assert isinstance(checkpoint.load(checkpoint.find(options), options, fresh), int)
        except TrainerError as error:
            refused += 1
            assert "resume:" in str(error) and fresh.put_back is None  # nothing was put back
    assert refused > 0
