#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Holds the CPU kernels to a number of instructions per element: a guard of their speed that no busy machine disturbs.

Valgrind counts the instructions of a run without a call of a kernel, and with one: start-up is in both. ceilings.csv
has a column a compiler, named by the version that was measured, and some 15 % above what that makes of the kernel with
AVX2, the most that valgrind 3.19 can run. Later versions are held to it, too. Memory traffic, and what AVX-512 makes of
a kernel, are not seen here: that takes ./dev bench.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, NoReturn

TABLE = Path(__file__).with_name("ceilings.csv")
SKIPPED = 77  # tests/CMakeLists.txt tells ctest
ADVICE = f"""Look first at what changed in the kernel: code no longer vectorised or inlined, or more work an element.
If the change is right and worth its price, raise the ceiling in tests/instructions/{TABLE.name} to some 15 % above the
count, in the commit that makes the change, and say why there. All counts: tests/instructions/count.py PROGRAM."""


class Run(NamedTuple):
    compiler: str
    version: int
    instruction_set: str
    elements: int


def skip(why: str) -> NoReturn:
    print(f"SKIPPED: {why}")
    sys.exit(SKIPPED)


def execute(command: list[str]) -> tuple[Run, str]:
    environment = os.environ | {"LD_BIND_NOW": "1"}  # or the first call would look its functions up
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = re.search(r"^(\S+) (\d+) (\S+) (\d+)$", done.stdout, re.M)
    if done.returncode != 0 or not said:
        sys.exit(f"exit status {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return Run(said[1], int(said[2]), said[3], int(said[4])), done.stderr


def instructions(program: str, kernel: str, storage: str, instruction_set: str, calls: int) -> int:
    # Cachegrind without its caches is the quickest of the tools that count.
    run, said = execute(["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", program,
                         kernel, storage, instruction_set, str(calls)])
    total = re.search(r"I\s+refs:\s+([\d,]+)", said)
    if not total:
        sys.exit(f"no count in what valgrind says:\n{said}")
    if run.instruction_set != instruction_set:
        skip(f"valgrind runs the kernels with {run.instruction_set} instructions here, not {instruction_set}")
    return int(total[1].replace(",", ""))


def ceiling_column(run: Run, columns: list[str]) -> str:
    for column in columns:
        compiler, _, version = column.partition(" ")
        if run.compiler == compiler:
            if run.version < int(version):
                skip(f"compiled with {run.compiler} {run.version}; the ceilings are for {version} and later")
            return column
    skip(f"no ceilings for {run.compiler}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("program", help="what main.cpp was compiled to, at -O2")
    parser.add_argument("--kernel", help="only this kernel")
    parser.add_argument("--storage", help="only this storage type")
    parser.add_argument("--instruction-set", default="avx2", choices=["avx2", "portable"])
    given = parser.parse_args()

    with open(TABLE, newline="") as file:
        rows = list(csv.DictReader(file))
    # First without valgrind, to know what to blame.
    run, _ = execute([given.program, rows[0]["kernel"], rows[0]["storage"], "avx2", "1"])
    if run.instruction_set != "avx2":
        skip("this processor has no AVX2")
    if not shutil.which("valgrind"):
        skip("valgrind is not installed")
    column = ceiling_column(run, list(rows[0])[2:])
    chosen = [row for row in rows if given.kernel in (None, row["kernel"]) and given.storage in (None, row["storage"])]
    if not chosen:
        sys.exit(f"no such row in {TABLE}")

    def total(row: dict[str, str], calls: int) -> int:
        return instructions(given.program, row["kernel"], row["storage"], given.instruction_set, calls)

    print(f"{run.compiler} {run.version}, {given.instruction_set}: instructions per element, and ceiling")
    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        a_row = {row["storage"]: row for row in chosen}  # any: without a call they are the same
        without = {storage: pool.submit(total, row, 0) for storage, row in a_row.items()}
        with_call = [pool.submit(total, row, 1) for row in chosen]
        for row, whole in zip(chosen, with_call):
            count = (whole.result() - without[row["storage"]].result()) / run.elements
            ceiling = float(row[column])
            print(f"{row['kernel']:24}{row['storage']:6}{count:9.2f}{ceiling:9.2f}", flush=True)
            if count > ceiling:
                found.append(f"{row['kernel']} in {row['storage']}: {count:.2f} instructions per element, "
                             f"above the ceiling of {ceiling:g}")
    if found:
        print(*found, ADVICE, sep="\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
