# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a run that was resumed has the bits of one that was not, and diffusers loads what a run leaves."""

import shutil

import pytest
import tiny
import torch
from conftest import log_of, run, succeed
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


@pytest.fixture(scope="module")
def nft_runs(tmp_path_factory):
    """As runs, of nft, whose samples come from a policy of its own: three updates, and two and one."""
    few = ["--method", "nft", "--prompts-per-update", 1, "--seeds-per-prompt", 1, "--trained-steps", 2]
    whole, halves = tmp_path_factory.mktemp("nft"), tmp_path_factory.mktemp("nft_halves")
    succeed(*few, "--updates", 3, "--output", whole)
    succeed(*few, "--updates", 2, "--output", halves)
    succeed(*few, "--updates", 3, "--output", halves, "--resume")
    return whole, halves


def test_a_resumed_run_of_nft_has_the_same_bits(nft_runs):
    found = {}
    for file in ("lora", "ema", "old", "pytorch_lora_weights"):
        tensors = [load_file(run / "checkpoints" / "update-000003" / f"{file}.safetensors") for run in nft_runs]
        assert tensors[0].keys() == tensors[1].keys() and all(torch.equal(t, tensors[1][name]) for name, t in tensors[0].items())
        found[file] = tensors[0]
    assert not all(torch.equal(t, found["lora"][name]) for name, t in found["old"].items())


def test_the_old_policy_of_nft_follows_lora(nft_runs):
    """old = d old + (1 - d) lora with d = 0.001 n after n steps."""
    at = {n: {file: load_file(nft_runs[1] / "checkpoints" / f"update-00000{n}" / f"{file}.safetensors")
              for file in ("lora", "old")} for n in (2, 3)}
    for name, before in at[2]["old"].items():
        torch.testing.assert_close(at[3]["old"][name], 0.003 * before + 0.997 * at[3]["lora"][name], rtol=1e-5, atol=1e-8)


def test_a_checkpoint_of_nft_without_its_old_policy_is_refused(nft_runs, tmp_path):
    place = tmp_path / "update-000003"
    shutil.copytree(nft_runs[0] / "checkpoints" / "update-000003", place)
    (place / "old.safetensors").unlink()
    done = run("--method", "nft", "--updates", 4, "--output", tmp_path / "run", "--resume", place)
    assert done.returncode == 2 and f"{place} has no old.safetensors" in done.stderr


def test_diffusers_loads_the_average(runs):
    folder = runs[0] / "checkpoints" / "update-000004"
    transformer = tiny.TRANSFORMERS["sd3"]()
    transformer.load_lora_adapter(folder, weight_name="pytorch_lora_weights.safetensors", prefix="transformer",
                                  adapter_name="tuned")
    assert transformer.peft_config["tuned"].lora_alpha == 16
    loaded = dict(transformer.named_parameters())
    for name, average in load_file(folder / "ema.safetensors").items():
        assert torch.equal(loaded[name.replace(".default.", ".tuned.")], average)
