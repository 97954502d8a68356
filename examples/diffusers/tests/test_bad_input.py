# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a user gets wrong is one line, before any work, and an exit status that is not 0."""

import sys

import pytest
from conftest import log_of, run, succeed


def refused(message: str, *arguments, tiny: bool = True) -> None:
    done = run(*arguments, tiny=tiny)
    assert done.returncode == 2 and done.stdout == "", (done.stdout, done.stderr)
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr


@pytest.mark.parametrize("arguments, message", [
    (["--stepz", "3"], "unrecognized arguments: --stepz 3"),
    (["--steps", "many"], "invalid int value: 'many'"),
    (["--method", "ppo"], "invalid choice: 'ppo'"),
    (["--method", "mix-grpo", "--window", "6"], "window is 6, of 5 trained_steps"),
    (["--method", "branch-grpo", "--splits", "6"], "splits is 6, of 5 trained_steps"),
    (["--method", "branch-grpo", "--group", "seed"], "compares within a tree's depth"),
    (["--method", "nft", "--group", "seed"], "nft has one sample per noise"),
    (["--method", "nft", "--mixture", "0"], "mixture is 0.0, expected more than 0"),
    (["--method", "nft", "--explorations", "1", "--seeds-per-prompt", "1"], "nothing to compare"),
    (["--method", "awm", "--matching-weight", "none"], "invalid choice: 'none'"),
    (["--steps", "4", "--trained-steps", "5"], "trained_steps is 5, of 4 steps"),
    (["--explorations", "1", "--group", "seed"], "nothing to compare"),
    (["--prompts-per-update", "5"], "prompts_per_update is 5, of 4 prompts"),
    (["--reward", "beauty"], "no reward beauty"),
    (["--reward", "jpeg:much"], "the weight much is not a number"),
    (["--reward", "pickscore=/no/such"], "no /no/such; write pickscore=PATH"),
    (["--reward", "ocr"], "no path given; write ocr=PATH"),
    (["--shard"], "there is one process"),
    (["--reward", "http://127.0.0.1:9/", "--reward-retries", "0"], "does not answer"),
    (["--reward", "program=/no/such/program"], "cannot run /no/such/program"),
    (["--resume"], "no checkpoint in"),
    (["--prompts", "/no/such.txt"], "No such file"),
    (["--config", "/no/such.yaml"], "No such file"),
    (["--updates-per-rollout", "5"], "updates_per_rollout is 5"),
])
def test_options(arguments, message, tmp_path):
    refused(message, "--output", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("configured, message", [
    ({"FSDP_VERSION": "1"}, "the trainer shards by version 2"),
    ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "keeps shards on the device")])
def test_configurations_of_accelerate(configured, message, monkeypatch, tmp_path):
    for name, value in ({"ACCELERATE_USE_FSDP": "true"} | configured).items():
        monkeypatch.setenv(name, value)
    refused(message, "--output", tmp_path / "run")


def test_a_status_of_the_command(tmp_path):
    done = run("--reward", "beauty", "--output", tmp_path / "run", launcher=[])
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("train.py: no reward beauty")


@pytest.mark.parametrize("name, content, message", [
    ("empty.txt", "\n \n", "no prompt in it"),
    ("broken.jsonl", '{"prompt": "a cat"}\n{"text": "b"}\n', "line 2: expected a JSON object")])
def test_prompts(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    refused(message, "--output", tmp_path / "run", "--prompts", tmp_path / name)


@pytest.mark.parametrize("content, message", [
    ("stepps: 4", "no option stepps; did you mean steps?"), ("steps: [1", "not YAML"),
    ("steps: 2.5", "steps is 2.5, expected int"),
    ("model: sdxl", "expected sd3 or flux or qwen"), ("rescore: maybe", "expected bool")])
def test_config(content, message, tmp_path):
    (tmp_path / "run.yaml").write_text(content)
    refused(message, "--output", tmp_path / "run", "--config", tmp_path / "run.yaml")


def test_a_folder_without_weights(tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\n" * 48)
    common = ["--output", tmp_path / "run", "--prompts", tmp_path / "prompts.txt", "--model", "flux",
              "--model-path", tmp_path]
    refused("no model_index.json", *common, tiny=False)
    (tmp_path / "model_index.json").write_text('{"transformer": ["diffusers", "SD3Transformer2DModel"]}')
    refused("its transformer is SD3Transformer2DModel", *common, tiny=False)
    (tmp_path / "model_index.json").write_text('{"transformer": ["diffusers", "FluxTransformer2DModel"]}')
    refused("no folder transformer, vae, text_encoder", *common, tiny=False)


def test_a_checkpoint_of_another_run(tmp_path):
    succeed("--updates", 1, "--output", tmp_path / "sd3")
    place = tmp_path / "sd3" / "checkpoints" / "update-000001"
    refused("has a run in it", "--output", tmp_path / "sd3")
    refused("has model sd3, this run flux", "--output", tmp_path / "other", "--model", "flux", "--resume", place)
    refused("has lora_rank 8, this run 4", "--output", tmp_path / "other", "--lora-rank", "4", "--resume", place)
    refused("has method tempflow-grpo, this run nft; go on with --method tempflow-grpo, or begin anew in another --output",
            "--output", tmp_path / "other", "--method", "nft", "--resume", place)
    (place / "lora.safetensors").write_bytes(b"not a file of tensors")
    refused("cannot read", "--output", tmp_path / "sd3", "--resume")


def test_samples_whose_reward_fails_are_left_out(tmp_path):
    program = tmp_path / "reward.py"
    program.write_text("import sys, json\nfor i, line in enumerate(sys.stdin):\n"
                       "    n = len(json.loads(line)['images'])\n"
                       "    print(json.dumps({'scores': [None] * n}) if i == 3 else 'nonsense' if i > 5 else\n"
                       "          json.dumps({'scores': list(range(n))}), flush=True)\n")
    said = succeed("--updates", 1, "--output", tmp_path / "run", "--reward", f"program={sys.executable} {program}",
                   "--reward-retries", "0", "--reward-batch", "16")
    # Requests 0 (the probe) to 15, of 16 samples each. 3 does not apply, 6 is answered with nonsense and the program begins
    # again: 10 does not apply, 13 is nonsense.
    assert "  64 samples without reward" in said and "reward program failed for 32 samples: expected {" in said
    assert log_of(tmp_path / "run")[0]["excluded"] == "64" and (tmp_path / "run" / "checkpoints" / "update-000001").is_dir()
