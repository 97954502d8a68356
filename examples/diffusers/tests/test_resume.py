# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a run that was resumed has the bits of one that was not, and diffusers loads what a run leaves."""

import pytest
import tiny
import torch
from conftest import log_of, succeed
from safetensors.torch import load_file


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of four updates at once, and of two and two."""
    whole, halves = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("halves")
    succeed("--updates", 4, "--output", whole, "--checkpoint-every", 1, "--keep-checkpoints", 2)
    succeed("--updates", 2, "--output", halves)
    succeed("--updates", 4, "--output", halves, "--resume")
    return whole, halves


@pytest.mark.parametrize("file", ["lora", "ema", "pytorch_lora_weights"])
def test_a_resumed_run_has_the_same_bits(runs, file):
    tensors = [load_file(run / "checkpoints" / "update-000004" / f"{file}.safetensors") for run in runs]
    assert tensors[0].keys() == tensors[1].keys() and len(tensors[0]) > 20
    assert all(torch.equal(t, tensors[1][name]) for name, t in tensors[0].items())
    earlier = load_file(runs[0] / "checkpoints" / "update-000003" / f"{file}.safetensors")
    assert not all(torch.equal(t, earlier[name]) for name, t in tensors[0].items())


def test_the_log_goes_on_and_old_checkpoints_go(runs):
    whole, halves = map(log_of, runs)
    assert [row["reward"] for row in whole] == [row["reward"] for row in halves] and len(whole) == 4
    assert sorted(p.name for p in (runs[0] / "checkpoints").iterdir()) == ["update-000003", "update-000004"]


def test_diffusers_loads_the_average(runs):
    folder = runs[0] / "checkpoints" / "update-000004"
    transformer = tiny.TRANSFORMERS["sd3"]()
    transformer.load_lora_adapter(folder, weight_name="pytorch_lora_weights.safetensors", prefix="transformer",
                                  adapter_name="tuned")
    assert transformer.peft_config["tuned"].lora_alpha == 16
    loaded = dict(transformer.named_parameters())
    for name, average in load_file(folder / "ema.safetensors").items():
        assert torch.equal(loaded[name.replace(".default.", ".tuned.")], average)
