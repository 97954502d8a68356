# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The main job in small: fashion_mnist.py PROGRAM improves|resumes|rejects FOLDER."""

import csv
import random
import shutil
import subprocess
import sys
from pathlib import Path

HEADER = ("update,reward,judge,diversity,frechet,kl,clip_fraction,ratio_mean,zero_std_share,"
          "model_evaluations,model_calls,trained_states,cost,scored,seconds,cpu_seconds").split(",")
PICTURES = ["samples_before.png", "samples_after.png", "reward.png"]
SMALL = """--classifier-epochs 1 --autoencoder-steps 300 --width 128 --blocks 1 --pretrain-steps 600
           --updates 20 --seeds 2 --optimizer-steps 1 --kl-beta 0.1 --learning-rate 2e-3
           --evaluate-every 5 --evaluation-samples 24""".split()


def command(program, output, *options):
    return [program, "--output", str(output), *SMALL, *options]


def run(*arguments):
    done = subprocess.run(command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def metrics(output):
    with open(output / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
        assert list(rows[0]) == HEADER, list(rows[0])
        return rows


def results(output):
    """All that a run leaves, but for the time it took."""
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "cpu_seconds")} for row in metrics(output)]
    return rows, {name: (output / name).read_bytes() for name in PICTURES[:2]}


def improves(program, folder):
    said = run(program, folder)
    rows = metrics(folder)
    before, after = rows[0], rows[-1]
    assert [int(row["update"]) for row in rows] == [0, 5, 10, 15, 20], rows
    assert float(after["reward"]) > float(before["reward"]) + 0.05, (before, after)
    assert float(after["judge"]) > float(before["judge"]), (before, after)
    assert all(float(row["ratio_mean"]) == 1 for row in rows[1:]), "on policy, every ratio is exactly 1"
    assert int(after["model_evaluations"]) > 0 and float(after["kl"]) > 0, after
    # 10 prompts, 2 seeds, 9 branching steps: a state each; 6 branches of each are scored.
    assert int(after["trained_states"]) == 20 * 180 and int(after["scored"]) == 20 * 1080, after
    assert int(after["cost"]) == int(after["model_evaluations"]) + 3 * int(after["trained_states"]), after
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n"), name
    assert "\r" not in said, "no terminal, so plain lines"


def resumes(program, folder):
    """What is killed and resumed ends with the bits of the run that was not, which `improves` leaves beside it."""
    draw = random.Random(7)
    killed = 0
    while killed < 12:  # from nothing to the end, in slices
        worker = subprocess.Popen(command(program, folder), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            worker.wait(timeout=draw.uniform(0.5, 3 + killed))
            assert worker.returncode == 0, worker.stderr.read()
            break
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
            killed += 1
    assert killed > 0, "the run was never interrupted"
    run(program, folder)
    assert results(folder.with_name("improves")) == results(folder)
    print(f"killed {killed} times, same bits")


def rejects(program, folder):
    """Mistakes end with a message, not a crash."""
    folder.mkdir()
    (folder / "checkpoint.bin").write_bytes(b"not a checkpoint")
    mistakes = {("--method", "ppo"): "--method", ("--seeds", "0"): "--seeds",
                ("--explorations", "5"): "--antithetic", ("--window", "10"): "--window",
                ("--completion", "2,,1"): "--completion",
                ("--data", str(folder / "nowhere")): "nowhere", (): "checkpoint.bin"}
    for options, word in mistakes.items():
        done = subprocess.run(command(program, folder, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode > 0, (options, done.returncode)  # negative: ended by a signal
        assert word in done.stdout + done.stderr, (options, done.stdout, done.stderr)
    for method in ("tempflow-grpo", "flow-grpo"):  # each has defaults of its own
        said = subprocess.run([program, "--method", method, "--help"], capture_output=True, text=True, check=True).stdout
        assert f"}}={method}" in said, said
        assert ("--antithetic BOOLEAN=1" in said) == (method == "tempflow-grpo"), said


if __name__ == "__main__":
    program, job, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    shutil.rmtree(folder, ignore_errors=True)
    {"improves": improves, "resumes": resumes, "rejects": rejects}[job](program, folder)
