# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards by name, by program and by server; prompts; options of a YAML file."""

import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import transformers
from conftest import TRAINER
from command_line import read_options
from errors import TrainerError
from model_rewards import legibility, quoted
from prompts import Prompt, prompts_of_update, read_prompts
from rewards import Rewards, brightness, jpeg, parse_rewards
from small_pipelines import save_small_clip

PROMPTS = [Prompt(0, "red"), Prompt(1, "noise", {"tag": "color"})]
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
IMAGES[0] = 0
IMAGES[0, :, :, 0] = 255


def rewards_of(*given):
    arguments = [word for reward in given for word in ("--reward", reward)]
    return Rewards(read_options(["--tiny", "--output", "unused", "--reward-timeout", "20", *arguments]), PROMPTS)


def test_names_and_weights():
    assert parse_rewards(["jpeg:0.5,brightness", "2*http://host:80/a:b", "program=a b,c:1", "3*clip=/weights:0.5"]) == [
        ("jpeg", "", 0.5), ("brightness", "", 1.0), ("http", "http://host:80/a:b", 2.0), ("program", "a b,c:1", 1.0),
        ("clip", "/weights", 1.5)]


def test_in_process_rewards():
    assert brightness(IMAGES, PROMPTS) == pytest.approx([1 / 3, IMAGES[1].mean() / 255])
    plain, noisy = jpeg(IMAGES, PROMPTS)
    assert 0 > plain > noisy
    rewards = rewards_of("brightness:2,jpeg")
    scores = rewards.submit(IMAGES, PROMPTS)()
    assert rewards.total(scores) == pytest.approx([2 / 3 + plain, 2 * IMAGES[1].mean() / 255 + noisy])


@pytest.mark.parametrize("name, package, module", [
    ("aesthetic", "simple-aesthetics-predictor", "aesthetics_predictor"), ("hpsv3", "hpsv3", "hpsv3"),
    ("imagereward", "image-reward", "ImageReward"), ("ocr", "easyocr", "easyocr")])
def test_a_model_whose_package_is_missing_is_a_line(name, package, module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(TrainerError) as caught:
        rewards_of(f"{name}={tmp_path}")
    assert f"reward {name} needs the package {package}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["clip", "aesthetic", "hpsv3", "imagereward", "ocr"])
def test_weights_of_something_else_are_a_line(name, tmp_path):
    with pytest.raises(TrainerError, match=f"reward {name}") as caught:
        rewards_of(f"{name}={tmp_path}")
    assert "\n" not in str(caught.value)


def test_clip_and_pickscore_are_similarities_of_image_and_text(tmp_path):
    save_small_clip(tmp_path)
    rewards = rewards_of(f"clip={tmp_path}", f"pickscore={tmp_path}")
    found = rewards.submit(IMAGES, PROMPTS)()
    model, processor = (kind.from_pretrained(tmp_path) for kind in (transformers.CLIPModel, transformers.CLIPProcessor))
    for image, prompt, clip, pickscore in zip(IMAGES, PROMPTS, found["clip"], found["pickscore"], strict=True):
        with torch.no_grad():
            out = model(**processor(text=[prompt.text], images=[image], return_tensors="pt"))
            cosine = torch.nn.functional.cosine_similarity(out.image_embeds, out.text_embeds)
            expected = float(cosine * model.logit_scale.exp())
        assert (clip, pickscore) == (pytest.approx(expected / 100, rel=1e-4), pytest.approx(expected / 26, rel=1e-4))


@pytest.mark.parametrize("text, read, expected", [
    ("New Yolk", "NEW  yolk", 1), ("open", "the shop is open now", 1), ("open", "opem", 0.75), ("open", "oen", 0.75),
    ("open", "", 0), ("open", "something else", 0), ("kitten", "sitting", 0.5)])
def test_legibility(text, read, expected):
    assert legibility(text, read) == pytest.approx(expected)


def test_the_text_that_a_prompt_wants():
    assert quoted('a sign that says "Open \'til 9" and "no"') == "Open 'til 9" and quoted("no sign") is None


def test_a_program_and_a_server_give_their_function():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, str(TRAINER / "reward_server.py"), "--port", str(port)])
    try:
        for _ in range(100):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        program = f"{sys.executable} {TRAINER / 'reward_server.py'} --lines"
        rewards = rewards_of(f"http://127.0.0.1:{port}/red", f"program={program}")
        assert rewards.names == ["red", "program"]
        scores = rewards.submit(IMAGES, PROMPTS)()
        red, green, blue = IMAGES[1].mean((0, 1)) / 255
        assert scores["red"] == scores["program"] == pytest.approx([1.0, red - (green + blue) / 2])
        server.kill()
        server.wait()
        scores = rewards.submit(IMAGES, PROMPTS)()
        assert np.isnan(scores["red"]).all() and np.isfinite(scores["program"]).all()
        assert np.isnan(rewards.total(scores)).all()
        (complaint,) = rewards.complaints()
        assert "reward red failed for 2 samples" in complaint and rewards.complaints() == []
        rewards.close()
    finally:
        server.kill()
        server.wait()


def test_a_program_that_is_late_is_asked_again(tmp_path):
    program = tmp_path / "late.py"
    program.write_text("import sys, time, pathlib\nmark = pathlib.Path(sys.argv[1])\nfor line in sys.stdin:\n"
                       "    if mark.exists():\n        mark.unlink()\n        time.sleep(60)\n"
                       "    print('{\"scores\": [7]}', flush=True)\n")
    mark = tmp_path / "mark"
    rewards = rewards_of(f"program={sys.executable} {program} {mark}")
    rewards.parts[0].score.timeout = 3
    mark.touch()
    assert rewards.submit(IMAGES[:1], PROMPTS[:1])() == {"program": [7.0]} and not mark.exists()
    assert rewards.complaints() == []
    rewards.close()


def test_prompts_of_a_file_and_of_an_update(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a cat", "tag": "single_object"}\n\n{"prompt": "a dog"}\n')
    prompts = read_prompts(str(tmp_path / "a.jsonl"), first_id=5)
    assert [(p.id, p.text, p.metadata.get("tag")) for p in prompts] == [(5, "a cat", "single_object"), (6, "a dog", None)]
    many = [Prompt(i, "") for i in range(50)]
    chosen = [p.id for p in prompts_of_update(many, 8, 1, 3)]
    assert len(set(chosen)) == 8 and chosen == [p.id for p in prompts_of_update(many, 8, 1, 3)]
    assert chosen != [p.id for p in prompts_of_update(many, 8, 1, 4)]


def test_the_command_line_wins_over_a_file_and_a_file_over_presets(tmp_path):
    (tmp_path / "run.yaml").write_text("model: flux\ntiny: true\nguidance: 2\nsteps: 7\ntrained-steps: 6\n"
                                       "reward: [jpeg, brightness]\n")
    options = read_options(["--config", str(tmp_path / "run.yaml"), "--steps", "8", "--output", "a"])
    assert (options.model, options.guidance, options.steps, options.trained_steps) == ("flux", 2.0, 8, 6)
    assert options.noise_level == 0.9 and list(options.reward) == ["jpeg", "brightness"] and options.group_size == 24
