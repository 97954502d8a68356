# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a run logs: the drift of each step, and the same numbers for TensorBoard and Weights & Biases."""

import sys
from types import SimpleNamespace

import pytest
from conftest import log_of, run, succeed
from trainer import Trainer


@pytest.fixture
def off_at_step_3(monkeypatch):
    """Rollouts whose velocity at step 3 is not that of training."""
    collect, velocity, rolling = Trainer.collect, Trainer.velocity, []

    def collect_off(self, *arguments):
        rolling.append(True)
        parts = collect(self, *arguments)
        rolling.clear()
        return parts

    def velocity_off(self, x, sigma, prompts):
        off = rolling and float(sigma[0]) == float(self.course.chain.sigmas[3].float())
        return velocity(self, x, sigma, prompts) * (1.001 if off else 1.0)

    monkeypatch.setattr(Trainer, "collect", collect_off)
    monkeypatch.setattr(Trainer, "velocity", velocity_off)


def test_drift_by_step(off_at_step_3, tmp_path):
    said = succeed("--updates", 1, "--output", tmp_path)
    (row,) = log_of(tmp_path)
    largest, mean = ([float(row[f"{name}_step_{step}"]) for step in range(5)] for name in ("drift", "drift_mean"))
    assert [drift > 0 for drift in largest] == [drift > 0 for drift in mean] == [False, False, False, True, False]
    assert float(row["drift"]) == largest[3] > mean[3] and "drift_step_5" not in row
    assert float(row["drift_mean"]) == pytest.approx(mean[3] / 5, rel=1e-6)
    (line,) = [line for line in said.splitlines() if line.startswith("  drift by step")]
    assert f"2: 0e+00 (0e+00), 3: {largest[3]:.0e} ({mean[3]:.0e}), 4:" in line


def test_without_rescoring_there_is_none(tmp_path):
    said = succeed("--updates", 1, "--no-rescore", "--output", tmp_path)
    assert "drift" not in said and "drift" not in log_of(tmp_path)[0]


@pytest.mark.parametrize("arguments, package", [(["--tensorboard", "on"], "tensorboard"), (["--wandb", "mine"], "wandb")])
def test_a_log_whose_package_is_missing_is_a_line(arguments, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = run(*arguments, "--output", tmp_path / "run")
    assert done.returncode == 2 and f"{package} cannot be imported" in done.stderr and f"pip install {package}" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_tensorboard_is_left_out_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    succeed("--updates", 1, "--tensorboard", "auto", "--output", tmp_path)
    assert not (tmp_path / "tensorboard").exists() and len(log_of(tmp_path)) == 1


def test_wandb_gets_the_numbers_of_the_csv(monkeypatch, tmp_path):
    """A module in wandb's place, which takes what init, log and finish are given."""
    calls = []
    place = SimpleNamespace(log=lambda numbers, step: calls.append((step, numbers)), finish=lambda: calls.append("finished"))
    module = SimpleNamespace(init=lambda **given: calls.append(given) or place)
    monkeypatch.setitem(sys.modules, "wandb", module)
    succeed("--updates", 2, "--evaluate-every", 2, "--wandb", "mine", "--output", tmp_path / "first")
    assert calls[0]["project"] == "mine" and calls[0]["name"] == "first" and calls[0]["config"]["updates"] == 2
    assert calls[-1] == "finished"
    for (step, numbers), row in zip(calls[1:-1], log_of(tmp_path / "first"), strict=True):
        assert step == int(row["update"]) and "update" not in numbers
        assert {name: f"{n:.8g}" for name, n in numbers.items()} == {
            name: f"{float(text):.8g}" for name, text in row.items() if text != "" and name != "update"}


def test_tensorboard_gets_the_numbers_of_the_csv(tmp_path):
    pytest.importorskip("tensorboard")  # ./dev test-python has it
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    succeed("--updates", 2, "--evaluate-every", 2, "--tensorboard", "on", "--output", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = log_of(tmp_path)
    assert len(rows) == 3
    for name in ("reward", "gradient_norm", "drift_step_0", "evaluation_reward"):
        expected = [(int(row["update"]), pytest.approx(float(row[name]), rel=1e-6)) for row in rows if row[name] != ""]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected
