# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The README's first program, in Python, prints what the C++ program prints there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_prints_what_the_readme_says():
    expected = re.search(r"```text\n(update  0.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    done = subprocess.run([sys.executable, ROOT / "examples/quickstart/main.py"], capture_output=True, text=True, check=True)
    assert done.stdout == expected
