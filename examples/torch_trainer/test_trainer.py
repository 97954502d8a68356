# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The C++ trainer learns, on policy; what it saves is diffusers' and peft's. TEMPFLOW_TORCH_TRAINER is the program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
LINE = re.compile(r"update (\d+)/(\d+)  reward (\S+)  drift (\S+)  log-ratio (\S+)  gradient (\S+)  (\d+) s, (\d+) s left")


def trainer(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([os.environ["TEMPFLOW_TORCH_TRAINER"], *map(str, arguments)], capture_output=True, text=True,
                          timeout=300)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    import export
    path = tmp_path_factory.mktemp("export") / "tiny.pt"
    export.main(str(path))
    return path


def test_it_learns_and_saves_its_lora(module, tmp_path):
    done = trainer(module, "--updates", 24, "--output", tmp_path / "lora.safetensors")
    assert done.returncode == 0, done.stderr
    rows = [LINE.fullmatch(line).groups() for line in done.stdout.splitlines()]
    assert [(int(row[0]), int(row[1])) for row in rows] == [(i + 1, 24) for i in range(24)]
    rewards = [float(row[2]) for row in rows]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.3, rewards
    for _, _, _, drift, log_ratio, norm, _, _ in rows:
        assert float(log_ratio) == 0
        assert float(drift) < 1e-6 and float(norm) > 0
    assert rows[-1][-1] == "0"  # seconds left

    import export
    from safetensors.torch import load_file
    saved = load_file(tmp_path / "lora.safetensors")
    torch.manual_seed(0)
    trained = export.transformer_with_lora()
    start = {name: p for name, p in trained.named_parameters() if p.requires_grad}
    by_name = {name.removeprefix("transformer.").replace(".weight", ".default.weight"): p for name, p in saved.items()}
    assert by_name.keys() == start.keys()
    nothing_reads = "transformer_blocks.1.attn.add_q_proj.lora_B.default.weight"  # queries of the last block's text
    assert [name for name in start if torch.equal(by_name[name], start[name])] == [nothing_reads]
    trained.load_state_dict(by_name, strict=False)
    torch.manual_seed(0)
    loaded = export.transformer()  # the same weights, without LoRA
    loaded.load_lora_adapter(saved)
    x, t, text, pooled = export.inputs(3)
    with torch.no_grad():
        first, again = (model(x, timestep=t, encoder_hidden_states=text, pooled_projections=pooled).sample
                        for model in (trained, loaded))
    torch.testing.assert_close(first, again)


def test_a_run_has_the_same_numbers_again(module):
    first, again, other = (trainer(module, "--updates", 1, "--seed", seed).stdout for seed in (3, 3, 4))
    numbers = [re.sub(r"  \d+ s.*", "", text) for text in (first, again, other)]
    assert "reward" in numbers[0] and numbers[0] == numbers[1] != numbers[2]


def test_what_the_user_can_mend_is_said(module, tmp_path):
    for arguments, code, text in ((["--updates", "x", module], 2, "--updates x"), ([], 2, "usage:"),
                                  ([module, "--learn"], 2, "no argument --learn"),
                                  ([tmp_path / "none.pt"], 1, "none.pt")):
        done = trainer(*arguments)
        assert done.returncode == code and text in done.stderr and len(done.stderr.splitlines()) < 5, done.stderr
