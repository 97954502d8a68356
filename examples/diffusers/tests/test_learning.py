# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Each of the three models learns, and SD3.5's by each method: fixed seeds, a gain in evaluated brightness (from 0 to 1)."""

import pytest
from conftest import log_of, succeed
from methods import METHODS


@pytest.mark.parametrize("model, method, updates, gain", [
    ("sd3", "tempflow-grpo", 12, 0.1), ("flux", "tempflow-grpo", 16, 0.06), ("qwen", "tempflow-grpo", 16, 0.06),
    ("sd3", "flow-grpo", 12, 0.06)])
def test_a_model_learns(model, method, updates, gain, tmp_path):
    succeed("--model", model, "--method", method, "--updates", updates, "--evaluate-every", updates, "--output", tmp_path)
    rows = log_of(tmp_path)
    before, after = (float(row["evaluation_brightness"]) for row in (rows[0], rows[-1]))
    assert after > before + gain, (before, after)
    assert [int(row["update"]) for row in rows] == list(range(updates + 1))
    for row in rows[:-1]:
        assert float(row["drift"]) < 1e-6 and abs(float(row["ratio_max"]) - 1) < 1e-6
        assert int(row["samples"]) == (240 if method == "tempflow-grpo" else 48) and int(row["excluded"]) == 0
    assert (tmp_path / "images" / f"update-{updates:06}.png").is_file()


# Eight updates on few samples. The gains that were seen are about twice as large.
SMALL = ["--prompts-per-update", 2, "--seeds-per-prompt", 2, "--explorations", 4, "--trained-steps", 3, "--splits", 3,
         "--window", 2, "--learning-rate", 1e-2, "--updates", 8, "--evaluate-every", 8]
GAINS = {"tempflow-grpo --group seed": 0.04, "flow-grpo-fast": 0.08, "dance-grpo": 0.02, "mix-grpo": 0.045,
         "mix-grpo-flash": 0.045, "branch-grpo": 0.055, "grpo-guard": 0.05, "dppo": 0.045, "gspo": 0.045, "nft": 0.065,
         "awm": 0.11}


def test_no_method_is_left_out():
    assert {method.split()[0] for method in GAINS} | {"flow-grpo"} == METHODS.keys()


@pytest.mark.parametrize("method", GAINS)
def test_sd3_learns_by(method, tmp_path):
    said = succeed("--method", *method.split(), *SMALL, "--output", tmp_path)
    rows = log_of(tmp_path)
    before, after = (float(row["evaluation_brightness"]) for row in (rows[0], rows[-1]))
    assert after > before + GAINS[method], (before, after)
    assert len(rows) == 9 and said.startswith(f"{method.split()[0]} on sd3")
    for row in rows[:-1]:
        assert abs(float(row["ratio_max"]) - 1) < 1e-9 and row["excluded"] == "0" and int(row["states_trained"]) > 0
        assert ("drift" in row) != METHODS[method.split()[0]].on_finished and float(row.get("drift", 0)) < 1e-6


@pytest.mark.parametrize("method", ["grpo-guard", "dppo", "gspo", "awm", "dance-grpo"])
def test_a_second_optimiser_step_has_ratios_to_the_policy_that_sampled(method, tmp_path):
    succeed("--method", method, *SMALL, "--updates", 1, "--updates-per-rollout", 2, "--evaluate-every", 0, "--clip", 1,
            "--divergence-bound", 1, "--output", tmp_path)
    (row,) = log_of(tmp_path)
    assert float(row["ratio_min"]) < 1 - 1e-9 and float(row["ratio_max"]) > 1 + 1e-9
    assert row["clipped"] == "0" and row["non_finite_rows"] == "0"
