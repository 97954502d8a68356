# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a crash, a damaged file, a second process or SIGTERM leaves: a run that goes on with the same bits."""

import itertools
import os
import random
import shutil
import signal
import time

import pytest
import torch
from conftest import end, log_of, run, start, succeed, wait_for
from durable import damaged, held, seal, write_text
from report import Log
from safetensors.torch import load_file

FEW = ["--prompts-per-update", 1, "--seeds-per-prompt", 1, "--trained-steps", 2, "--checkpoint-every", 1,
       "--keep-checkpoints", 0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of three updates."""
    folder = tmp_path_factory.mktemp("whole")
    succeed(*FEW, "--updates", 3, "--output", folder)
    return folder


def same(folder, other, update="update-000003") -> bool:
    tensors = [load_file(f / "checkpoints" / update / "lora.safetensors") for f in (folder, other)]
    rewards = [[row["reward"] for row in log_of(f)] for f in (folder, other)]
    return all(torch.equal(t, tensors[1][name]) for name, t in tensors[0].items()) and rewards[0] == rewards[1]


@pytest.mark.parametrize("file", ["lora.safetensors", "ema.safetensors", "state.pt", "sha256sums"])
def test_a_damaged_checkpoint_is_passed_over(whole, file, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "update-000003")
    path = folder / "checkpoints" / "update-000002" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run(*FEW, "--updates", 3, "--output", folder, "--resume")
    assert done.returncode == 0 and "update-000002: damaged are " in done.stderr and "an earlier one is tried" in done.stderr
    assert same(whole, folder) and not damaged(folder / "checkpoints" / "update-000002")


def test_a_run_without_a_checkpoint_begins_again(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints")
    succeed(*FEW, "--updates", 3, "--output", folder, "--resume")
    assert same(whole, folder)


def test_a_folder_is_for_one_run(tmp_path):
    with held(tmp_path):
        done = run(*FEW, "--updates", 1, "--output", tmp_path)
    assert done.returncode == 2 and "another process writes to it" in done.stderr


def test_checksums(tmp_path):
    for name, text in (("a.pt", "a"), ("b.safetensors", "b")):
        (tmp_path / name).write_text(text)
    assert damaged(tmp_path) == ["sha256sums"]
    seal(tmp_path)
    (tmp_path / "notes.txt").write_text("of the user")
    assert damaged(tmp_path) == []
    (tmp_path / "b.safetensors").write_text("c")
    (tmp_path / "c.pt").write_text("c")
    assert damaged(tmp_path) == ["b.safetensors", "c.pt"]
    (tmp_path / "sha256sums").write_bytes(b"")
    assert damaged(tmp_path) == ["a.pt", "b.safetensors", "c.pt"]


def test_a_log_that_was_cut_short_goes_on(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("update,reward\n0,0.5\n1,0.625\n2,0.75\n1")  # 1: of 12, cut short
    log = Log(path, 2)
    log.write({"update": 2, "reward": 0.875})
    assert path.read_text().split() == ["update,reward", "0,0.5", "1,0.625", "2,0.875"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new\ud800")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def terminate(job) -> None:
    job.send_signal(signal.SIGTERM)
    _, said = job.communicate(timeout=60)
    assert job.returncode == 143 and "terminated after a checkpoint" in said


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint(tmp_path):
    job = start(tmp_path, *FEW, "--checkpoint-every", 0)
    try:
        wait_for(job, (tmp_path / "log.csv").exists)
        terminate(job)
    finally:
        end(job)
    (place,) = (tmp_path / "checkpoints").iterdir()
    assert not damaged(place) and len(log_of(tmp_path)) == int(place.name[7:])


@pytest.mark.slow
def test_a_run_killed_again_and_again_has_the_bits_of_one_that_was_not(tmp_path):
    """SIGKILL at random moments, of a start or of the updates after it, in TEMPFLOW_SOAK_SECONDS (60); then SIGTERM."""
    moments, folder = random.Random(1), tmp_path / "killed"
    until = time.monotonic() + float(os.environ.get("TEMPFLOW_SOAK_SECONDS", 60))
    rows = -1
    for life in itertools.count():
        job = start(folder, *FEW, "--keep-checkpoints", 2, *(["--resume"] if life else []))
        began = time.monotonic()
        try:
            if life % 2 == 1:
                time.sleep(moments.uniform(0, 1.1) * to_start)
            else:
                wait_for(job, lambda: (folder / "log.csv").exists() and len(log_of(folder)) > rows)
                to_start = time.monotonic() - began
                if life > 0 and time.monotonic() > until:
                    terminate(job)
                    break
                time.sleep(moments.uniform(0, 3))
        finally:
            end(job)
        rows = len(log_of(folder))
    (*_, last) = sorted((folder / "checkpoints").iterdir())
    updates = int(last.name[7:])
    assert life > 0 and not damaged(last) and len(log_of(folder)) == updates
    print(f"{life} kills, {updates} updates")
    succeed(*FEW, "--updates", updates, "--output", tmp_path / "whole")
    assert same(tmp_path / "whole", folder, last.name)
