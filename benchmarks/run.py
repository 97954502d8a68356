#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Measures tempflow against its peers, and writes results.json (Google Benchmark's) and summary.md.

What is compared is measured close in time: one run of the program for each group, that is a kernel, storage type, size,
number of threads, and hot or cold; within it all implementations, repetition by repetition in random order. So a machine
that is slow for a minute is slow for all of them, and a ratio is the median of the repetitions' ratios.

  hot   the same buffers again and again
  cold  buffers that rotate through several times the last-level cache

Names are kernel/implementation/storage/BxD/threads, with /cold at the end; --filter is a regular expression on them:

  benchmarks/run.py --filter 'torch|tempflow' --kernel policy_loss   tempflow and torch in one kernel
  benchmarks/run.py --filter '/f32/24x65536/1$'                      one storage type, size and number of threads
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterable

import compile_time
import report
from progress import Progress

ROOT = Path(__file__).resolve().parents[1]
TINY = "3x4099"  # measured by --quick alone, as main.cpp says

# With glibc's defaults each of torch's large tensors is mapped, zeroed page by page and unmapped again, which makes
# torch up to twice as slow. A trainer tunes this, so it is tuned here, for all.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_PROC_BIND": "true",
}


def arguments() -> argparse.Namespace:
    head, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=head, epilog=examples,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="one tiny size, three repetitions: whether all runs, not how fast")
    parser.add_argument("--kernel", action="append", metavar="NAME",
                        help="only this kernel (may be given again): step, branch_step, log_prob, policy_loss, "
                             "policy_loss_on_policy, siblings, "
                             "normals, group_advantages, guidance, guidance_with_norms")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only benchmarks whose name it is found in")
    parser.add_argument("--no-cold", action="store_true", help="leave the cold ones out")
    parser.add_argument("--repetitions", type=int, metavar="N", help="of each benchmark (9; 3 with --quick)")
    parser.add_argument("--min-time", type=float, metavar="SECONDS",
                        help="that a repetition takes at least (0.05; 0.001 with --quick)")
    parser.add_argument("--program", type=Path, metavar="PATH",
                        default=ROOT / "build/release/benchmarks/tempflow_bench",
                        help="(build/release/benchmarks/tempflow_bench)")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench", metavar="FOLDER", help="(build/bench)")
    parser.add_argument("--no-compile-time", action="store_true", help="do not measure how long the header compiles")
    chosen = parser.parse_args()
    chosen.repetitions = chosen.repetitions or (3 if chosen.quick else 9)
    chosen.min_time = chosen.min_time or (0.001 if chosen.quick else 0.05)
    return chosen


def select(names: Iterable[str], chosen: argparse.Namespace) -> dict[report.Group, list[str]]:
    """The benchmarks to run, by group."""
    groups: dict[report.Group, list[str]] = {}
    for name in names:
        group, _ = report.parse(name)
        small = group.size == TINY or group.kernel == "group_advantages" and group.elements < 10_000
        if chosen.quick and not small or not chosen.quick and group.size == TINY:
            continue
        if chosen.kernel and group.kernel not in chosen.kernel or chosen.no_cold and group.cold:
            continue
        if re.search(chosen.filter, name):
            groups.setdefault(group, []).append(name)
    return groups


def measure(program: Path, names: list[str], chosen: argparse.Namespace) -> dict:
    """Google Benchmark's JSON of one run."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([program, f"--benchmark_filter=^({'|'.join(map(re.escape, names))})$",
                        f"--benchmark_repetitions={chosen.repetitions}", f"--benchmark_min_time={chosen.min_time}",
                        f"--benchmark_min_warmup_time={chosen.min_time / 5}",
                        "--benchmark_enable_random_interleaving=true",
                        f"--benchmark_out={file.name}", "--benchmark_out_format=json"],
                       env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       check=False)
        text = Path(file.name).read_text()
    if not text:
        sys.exit(f"run.py: {program} wrote nothing when asked for {names}")
    return json.loads(text)


class OtherWork:
    """Processors that other programs use. Linux tells; elsewhere it is 0."""

    def __init__(self) -> None:
        self.start = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        """Wall time, and processor time of others, in seconds."""
        own = resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        except OSError:
            return time.monotonic(), 0.0
        user, nice, system, _, _, *interrupts_and_stolen = map(int, ticks)
        busy = (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), busy - own.ru_utime - own.ru_stime

    def processors(self) -> float:
        wall, others = (now - then for now, then in zip(self.now(), self.start))
        return max(0.0, others / wall)


def main() -> int:
    chosen = arguments()
    try:
        listed = subprocess.run([chosen.program, "--benchmark_list_tests"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        sys.exit(f"run.py: {problem}; ./dev bench builds the program")
    groups = select(listed.stdout.split(), chosen)
    if not groups:
        sys.exit("run.py: no benchmark is selected")

    results: dict = {"context": {}, "benchmarks": []}
    other_work: dict[str, float] = {}
    progress = Progress(sum(map(len, groups.values())))
    try:
        for group, names in groups.items():
            progress.show(str(group))
            others = OtherWork()
            run = measure(chosen.program, names, chosen)
            other_work[str(group)] = round(others.processors(), 3)
            results["context"] = results["context"] or run["context"]
            results["benchmarks"] += run["benchmarks"]
            progress.done += len(names)
        progress.show("compile time" if not chosen.no_compile_time else "done")
        compiled = [] if chosen.no_compile_time else compile_time.measure(ROOT / "include")
    except KeyboardInterrupt:
        compiled = []
    print()

    results["context"] |= {"environment": ENVIRONMENT, "commit": report.commit(ROOT),
                           "cpu": report.cpu(), "repetitions": chosen.repetitions, "compile time": compiled,
                           "other work": other_work}
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "results.json").write_text(json.dumps(results, indent=1))
    summary, errors = report.summary(results)
    (chosen.output / "summary.md").write_text(summary)
    print(f"{chosen.output / 'summary.md'}, {chosen.output / 'results.json'}")
    for error in errors:
        print(f"wrong: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
