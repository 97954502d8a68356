# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The hosts of docs/hosts.md that need torch print the line that is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBTORCH = os.environ.get("TEMPFLOW_LIBTORCH_HOST")


@pytest.mark.parametrize("host", [
    pytest.param([sys.executable, ROOT / "examples/hosts/host.py"], id="python"),
    pytest.param([LIBTORCH], id="libtorch", marks=pytest.mark.skipif(not LIBTORCH, reason="no TEMPFLOW_LIBTORCH_HOST"))])
def test_it_prints_what_the_page_says(host):
    expected = re.search(r"```text\n(.*?)```", (ROOT / "docs/hosts.md").read_text(), re.S)[1]
    done = subprocess.run(host, capture_output=True, text=True, check=True)
    assert done.stdout == expected
