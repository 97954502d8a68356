# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A program of docs/hosts.md prints the line that is there."""

import re
import subprocess
import sys
from pathlib import Path

page = (Path(__file__).parents[2] / "docs/hosts.md").read_text()
expected = re.search(r"```text\n(.*?)```", page, re.S)[1]
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.stdout, done.stderr, end="")
if done.stdout.startswith("skipped: "):
    sys.exit()
if done.returncode != 0 or done.stdout != expected:
    sys.exit(f"exit status {done.returncode}; expected: {expected}")
