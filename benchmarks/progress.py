# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""How far a benchmark is."""

import sys
import time


class Progress:
    """A line that is overwritten on a terminal, and lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.start, self.total, self.done = time.monotonic(), total, 0

    def show(self, what: str) -> None:
        spent = time.monotonic() - self.start
        left = f", {spent / self.done * (self.total - self.done) / 60:.0f} min left" if self.done else ""
        line = f"[{self.done}/{self.total}{left}] {what}"
        print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="" if sys.stdout.isatty() else "\n", flush=True)
