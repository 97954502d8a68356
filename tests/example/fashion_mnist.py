# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The main job in small: fashion_mnist.py PROGRAM improves|resumes|rejects|methods FOLDER."""

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

# How much of the judge each method has to gain by JUDGED: about half of what it did when this was written, behind it.
JUDGED = "--updates 40 --seeds 4 --optimizer-steps 2 --evaluate-every 40 --evaluation-samples 100".split()
SHARED = "--optimizer-steps 1 --learning-rate 4e-3".split()  # of prompts with one noise, an optimiser step sees all
METHODS = {
    "tempflow-grpo": ([], 0.10),  # 0.206
    "flow-grpo": ([], 0.09),  # 0.186
    "flow-grpo-fast": ([], 0.08),  # 0.165
    "dance-grpo": (SHARED, 0.05),  # 0.106
    "mix-grpo": (SHARED, 0.05),  # 0.108
    "mix-grpo-flash": (SHARED, 0.045),  # 0.093
    "branch-grpo": ([], 0.07),  # 0.143
    "grpo-guard": ([], 0.07),  # 0.15
    "dppo": ([], 0.07),  # 0.15
    "gspo": ([], 0.07),  # 0.14
    "nft": ([], 0.09),  # 0.195
    "awm": ([], 0.10),  # 0.217
    "tempflow-grpo:prompt": (["--groups", "prompt"], 0.09),  # 0.189
}
ON_POLICY = ["dance-grpo", "mix-grpo", "mix-grpo-flash", "nft"]  # one optimiser step a rollout, or no ratio


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


def methods(program, folder):
    """Every method learns: so much more of the judge, from one pre-training and the same initial noises."""
    cache = ("--cache", str(folder / "cache"), *JUDGED)
    for name, (options, margin) in METHODS.items():
        run(program, folder / name, *cache, "--method", name.partition(":")[0], *options)
        first, *_, last = metrics(folder / name)
        gained = float(last["judge"]) - float(first["judge"])
        print(f"{name:24} judge {float(first['judge']):.3f} -> {float(last['judge']):.3f}, at least +{margin}; "
              f"reward {float(first['reward']):.3f} -> {float(last['reward']):.3f}; {float(last['cpu_seconds']):.1f} s")
        assert gained >= margin, (name, gained, margin)
        assert float(last["kl"]) > 0, (name, last)
    on_policy = [name for name in METHODS if float(metrics(folder / name)[-1]["ratio_mean"]) == 1]
    assert on_policy == ON_POLICY, on_policy

    # The average that DiffusionNFT explores with is in the checkpoint.
    options = (*cache, "--method", "nft", "--evaluate-every", "10")
    run(program, folder / "whole", *options)
    killed = subprocess.Popen(command(program, folder / "killed", *options), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert any(line.startswith("update   10") for line in killed.stdout), "it never evaluated"
    killed.kill()
    killed.wait()
    assert len(metrics(folder / "killed")) < len(metrics(folder / "whole")), "it was never interrupted"
    run(program, folder / "killed", *options)
    assert results(folder / "killed") == results(folder / "whole")


def rejects(program, folder):
    """Mistakes end with a message, not a crash."""
    folder.mkdir()
    (folder / "checkpoint.bin").write_bytes(b"not a checkpoint")
    mistakes = {("--method", "ppo"): "--method", ("--seeds", "0"): "--seeds",
                ("--explorations", "5"): "--antithetic", ("--window", "10"): "--window",
                ("--completion", "2,,1"): "--completion", ("--method", "nft", "--antithetic", "true"): "--antithetic",
                ("--method", "branch-grpo", "--window", "2"): "split step",
                ("--data", str(folder / "nowhere")): "nowhere", (): "checkpoint.bin"}
    for options, word in mistakes.items():
        done = subprocess.run(command(program, folder, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode > 0, (options, done.returncode)  # negative: ended by a signal
        assert word in done.stdout + done.stderr, (options, done.stdout, done.stderr)
    for method in ("tempflow-grpo", "flow-grpo"):  # each has defaults of its own
        said = subprocess.run([program, "--method", method, "--help"], capture_output=True, text=True, check=True).stdout
        assert f"}}={method}" in said, said
        lines = [line.split()[0] for line in said.partition("Methods")[2].splitlines() if line.startswith("  ")]
        assert lines == [name for name in METHODS if ":" not in name], lines
        assert ("--antithetic BOOLEAN=1" in said) == (method == "tempflow-grpo"), said


if __name__ == "__main__":
    program, job, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    shutil.rmtree(folder, ignore_errors=True)
    {"improves": improves, "resumes": resumes, "rejects": rejects, "methods": methods}[job](program, folder)
