# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""docs/how-to says what its program prints: how_to.py PROGRAM"""

import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs/how-to"


def printed(*arguments):
    return subprocess.run([sys.argv[1], *arguments], check=True, capture_output=True, text=True).stdout


told = printed()
print(told, end="")
assert told.count(": holds\n") == 6, told
assert told.splitlines()[0] in (PAGES / "new-dynamics.md").read_text(), f"new-dynamics.md does not say {told.splitlines()[0]!r}"
table = printed("choose_a_plan")
assert table.count("\n") > 5 and table in (PAGES / "choose-a-plan.md").read_text(), f"choose-a-plan.md does not have\n{table}"
