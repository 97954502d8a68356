#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Runs each test case of a Catch2 program in a process of its own.

A kernel that hangs, or an error that leaves the device of no use, then costs one test and not all that follow.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter

SKIPPED = 77


def cases(program: str) -> list[str]:
    listed = subprocess.run([program, "--list-test-names-only"], capture_output=True, text=True)
    if not listed.stdout:  # the exit status is the number of cases in Catch2 2, so it says nothing
        sys.exit(f"{program} lists no test cases: {listed.stderr.strip() or listed.returncode}")
    return listed.stdout.splitlines()


def run(program: str, case: str, limit: float) -> tuple[str, str]:
    """passed, failed, timed out or skipped; and what it printed."""
    try:
        ended = subprocess.run([program, re.sub(r"([\\,\[\]])", r"\\\1", case)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               timeout=limit)
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        return "timed out", said if isinstance(said, str) else said.decode(errors="replace")
    status = {0: "passed", SKIPPED: "skipped"}.get(ended.returncode, "failed")
    return status, ended.stdout + (f"ended by signal {-ended.returncode}\n" if ended.returncode < 0 else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=90, metavar="S",
                        help="for all cases; each may take a fifth of it (90)")
    chosen = parser.parse_args()
    found: Counter[str] = Counter()
    all_cases = cases(chosen.program)
    end = time.monotonic() + chosen.seconds
    for case in all_cases:
        start = time.monotonic()
        if start >= end:
            found["not run"] += 1
            continue
        status, said = run(chosen.program, case, min(chosen.seconds / 5, end - start))
        if status == "skipped":
            print(f"{len(all_cases)} cases\n{said.strip()}")
            return SKIPPED
        found[status] += 1
        print(f"{status}: {case}, {time.monotonic() - start:.2f} s", flush=True)
        if status != "passed":
            print(said, flush=True)
    print(f"{len(all_cases)} cases: {', '.join(f'{count} {status}' for status, count in sorted(found.items()))}")
    return 0 if set(found) == {"passed"} else 1


if __name__ == "__main__":
    sys.exit(main())
