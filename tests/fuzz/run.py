# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the fuzz targets beside this file with clang++ and its sanitizers, and runs each for some seconds.

  python3 tests/fuzz/run.py                           all, five seconds each
  python3 tests/fuzz/run.py --seconds 3600 forest     one, for an hour
  python3 tests/fuzz/run.py --merge                   adds to the corpus what reaches code that nothing in it reaches

A target is a .cpp file and a folder of corpus/. What it fails on is written to the folder of the build; once it is mended,
that file goes into the corpus, which every `ctest` replays. clang++ and libFuzzer: Debian's clang and libclang-rt-14-dev.

Exit status: 0 if nothing was found, 1 if something was, 2 without clang++ or a target of that name.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples"
FASHION = EXAMPLES / "fashion_mnist"
FLAGS = ["-std=c++20", "-O1", "-g1", "-pthread", f"-I{ROOT}/include", f"-I{ROOT}/tests", "-fsanitize=fuzzer,address,undefined",
         "-fno-sanitize-recover=undefined"]
OF_EXAMPLE = [f"-I{FASHION}", f"-I{EXAMPLES}", "-isystem", "/usr/include/eigen3", '-DFASHION_MNIST_DATA=""',
              "-DEIGEN_DONT_PARALLELIZE"]
BESIDE = {  # what a target links
    "checkpoint": [*OF_EXAMPLE, str(FASHION / "checkpoint.cpp"), str(EXAMPLES / "support/durable_file.cpp"), "-lz"],
    "data": [*OF_EXAMPLE, "-lz"],
    "options": [*OF_EXAMPLE, *(str(FASHION / f"{name}.cpp") for name in ("options", "methods", "plans", "recipe"))],
}
MOST_BYTES = 4096  # of a file in the corpus


def targets() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.cpp") if path.stem != "replay")


def build(compiler: str, target: str, folder: Path) -> Path:
    program, source = folder / target, HERE / f"{target}.cpp"
    newest = max(path.stat().st_mtime for place in (ROOT / "include", HERE, FASHION, EXAMPLES / "support") for path in place.rglob("*.?pp"))
    if not program.exists() or program.stat().st_mtime < newest:
        subprocess.run([compiler, *FLAGS, str(source), *BESIDE.get(target, []), "-o", str(program)], check=True)
    return program


def fuzz(program: Path, seconds: int, folder: Path) -> tuple[int, int]:
    """Executions, and the number of failures (0 or 1)."""
    own = folder / "corpus" / program.name
    own.mkdir(parents=True, exist_ok=True)
    kept = HERE / "corpus" / program.name
    done = subprocess.run([str(program), str(own), *([str(kept)] if kept.is_dir() else []), f"-max_total_time={seconds}",
                           f"-max_len={MOST_BYTES}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1",
                           f"-artifact_prefix={folder}/{program.name}-"],
                          capture_output=True, text=True, errors="replace", env=os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1"})
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    if done.returncode != 0:
        print(done.stderr[-6000:], file=sys.stderr)
    return int(count[1]) if count else 0, int(done.returncode != 0)


def merge(program: Path, folder: Path) -> None:
    kept = HERE / "corpus" / program.name
    kept.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(program), "-merge=1", str(kept), str(folder / "corpus" / program.name)], capture_output=True, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(targets())}; all by default")
    parser.add_argument("--seconds", type=int, default=5, help="for each target (5)")
    parser.add_argument("--build", type=Path, default=ROOT / "build/fuzz", help="folder of the programs (build/fuzz)")
    parser.add_argument("--merge", action="store_true", help="add to the corpus what the runs so far have found")
    options = parser.parse_args()
    compiler = next(filter(None, map(shutil.which, ("clang++", "clang++-14"))), None)
    unknown = set(options.targets) - set(targets())
    if compiler is None or unknown:
        print(f"run.py: {'no clang++' if compiler is None else f'no target {min(unknown)}'}", file=sys.stderr)
        return 2
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    failures = 0
    for target in options.targets or targets():
        begin = time.monotonic()
        program = build(compiler, target, folder)
        built = time.monotonic() - begin
        if options.merge:
            merge(program, folder)
            continue
        executions, failed = fuzz(program, options.seconds, folder)
        failures += failed
        print(f"{target}: built in {built:.0f} s, {executions} executions, {'FAILED' if failed else 'nothing found'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
