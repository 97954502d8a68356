# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""One process and two: the same advantages, bit for bit, and the same update. A process that dies ends the job."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TRAINER, end, log_of, start, succeed, wait_for
from durable import damaged
from safetensors.torch import load_file

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def _advantages(folder: Path, launcher, *arguments) -> dict:
    folder.mkdir()
    script = str(Path(__file__).parent / "advantages.py")
    subprocess.run([sys.executable, *launcher, script, str(folder), "--tiny", "--threads", "1", "--updates", "1",
                    "--evaluate-every", "1", "--reward", "brightness,jpeg:0.01", "--output", str(folder / "run"),
                    *arguments], check=True, capture_output=True, timeout=300)
    told = {}
    for file in sorted(folder.glob("*.json")):
        told |= json.loads(file.read_text())
    return told


SLOW = [pytest.param(method, count, marks=pytest.mark.slow) for method, count in
        [("flow-grpo", 48), ("gspo", 48), ("nft", 48), ("branch-grpo", 8 * (2 + 4 + 8 + 16 + 16))]]


@pytest.mark.parametrize("method, count", [("tempflow-grpo", 240), *SLOW])
def test_two_processes_have_the_advantages_of_one(method, count, tmp_path):
    one = _advantages(tmp_path / "one", [], "--method", method)
    two = _advantages(tmp_path / "two", TWO, "--method", method)
    assert len(list((tmp_path / "two").glob("*.json"))) == 2
    assert one == two and len(one) == count and len(set(one.values())) > 10
    logs = [log_of(tmp_path / name / "run") for name in ("one", "two")]
    for name in ("reward", "brightness", "jpeg", "states_trained", "samples"):
        assert logs[0][0][name] == logs[1][0][name]
    assert float(logs[0][0]["gradient_norm"]) == pytest.approx(float(logs[1][0]["gradient_norm"]), rel=1e-4)
    assert float(logs[0][-1]["evaluation_reward"]) == pytest.approx(float(logs[1][-1]["evaluation_reward"]), rel=1e-3)
    lora = [load_file(tmp_path / name / "run" / "checkpoints" / "update-000001" / "lora.safetensors")
            for name in ("one", "two")]
    steps = torch.cat([(t - lora[1][name]).abs().flatten() for name, t in lora[0].items()])
    assert steps.mean() < 3e-3 * 0.05  # of AdamW's first step, whose signs hang on roundings where gradients are all but 0


SHARDS = ["-m", "accelerate.commands.launch", "--config_file", str(TRAINER / "launch" / "fsdp_flux.yaml"), "--num_processes",
          "2", "--main_process_port", "0"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sd3", "flux", "qwen"])
def test_weights_that_are_shared_out_train_to_the_same_bits(model, tmp_path):
    arguments = ["--model", model, "--updates", 2, "--evaluate-every", 2, "--evaluation-images", 3, "--gradient-checkpointing"]
    said = succeed(*arguments, "--output", tmp_path / "shards", launcher=SHARDS)
    assert "weights shared out among 2 processes" in said
    assert "shared out" not in succeed(*arguments, "--output", tmp_path / "whole", launcher=TWO)
    whole, shards = (load_file(tmp_path / name / "checkpoints" / "update-000002" / "pytorch_lora_weights.safetensors")
                     for name in ("whole", "shards"))
    assert whole.keys() == shards.keys() and all(torch.equal(t, shards[name]) for name, t in whole.items())
    for row, other in zip(*(log_of(tmp_path / name) for name in ("whole", "shards"))):
        for name in ("reward", "gradient_norm", "drift", "evaluation_reward"):
            assert row[name] == other[name]


@pytest.mark.slow
def test_sigterm_to_the_launcher_leaves_one_checkpoint(tmp_path):
    job = start(tmp_path, "--checkpoint-every", 0, launcher=TWO)
    try:
        wait_for(job, (tmp_path / "log.csv").exists)
        job.send_signal(signal.SIGTERM)
        _, said = job.communicate(timeout=60)
    finally:
        end(job)
    assert job.returncode != 0 and said.count("terminated after a checkpoint") == 2
    (place,) = (tmp_path / "checkpoints").iterdir()
    assert not damaged(place) and len(log_of(tmp_path)) == int(place.name[7:])
    succeed("--updates", int(place.name[7:]) + 1, "--resume", "--output", tmp_path, launcher=TWO)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_in_seconds(tmp_path):
    job = start(tmp_path, "--checkpoint-every", 1, launcher=TWO)
    try:
        wait_for(job, lambda: list((tmp_path / "checkpoints").glob("update-*")))
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(job.pid)], capture_output=True, text=True)
        children = listed.stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        began = time.monotonic()
        _, said = job.communicate(timeout=60)
        assert job.returncode != 0 and time.monotonic() - began < 20
        assert "SIGKILL" in said or "another has ended" in said
    finally:
        end(job)
    newest = sorted((tmp_path / "checkpoints").glob("update-*"))[-1]
    assert load_file(newest / "lora.safetensors")
