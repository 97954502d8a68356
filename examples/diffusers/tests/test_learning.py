# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Each of the three models learns, and by both methods: fixed seeds, a gain in evaluated brightness (from 0 to 1)."""

import pytest
from conftest import log_of, succeed


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
