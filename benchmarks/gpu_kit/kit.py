#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Tests and measures tempflow on this machine's GPU, in at most nine minutes: the tests, the benchmarks against a copy
and PyTorch, a fine-tuning run, and compute-sanitizer's four tools.

Needs the GPU's driver and Python 3.9; PyTorch, cuBLAS and compute-sanitizer are used where they are. Each step has a
time limit, and what it found is on the disk before the next begins; a step that fails or hangs costs no other one.
$OUT, or results/ beside run.sh, then holds results.json, summary.md, log.txt and benchmarks/.

  ./run.sh                          all of it
  ./run.sh --dry-run                what of it needs no GPU: do the programs start, are the scripts right?
  ./run.sh --only benchmarks --limit benchmarks=500 --minutes 10
  ./run.sh --torch-python ~/venv/bin/python

Without a GPU it does the dry run, and exits with 77. In the repository, benchmarks/gpu_kit/merge_results.py then writes
results.json into docs/performance.md.
"""

import argparse
import datetime
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import steps
from steps import KIT, SKIPPED, Step

sys.path[:0] = [str(KIT / "benchmarks"), str(KIT / "benchmarks/cuda")]
import report  # noqa: E402
import tables  # noqa: E402

MOST_OF_LOG = 1 << 20  # bytes, of a step
HEARTBEAT = 30  # seconds between signs of life where no terminal is
MARGIN = 5  # seconds between a step's limit and the end of all
KILL_AFTER = 5  # seconds between asking a program to end and ending it
TIMED_OUT = 124  # timeout's exit status


def arguments() -> argparse.Namespace:
    head, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="run.sh", description=head, epilog=more,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="as on a machine without a GPU")
    parser.add_argument("--list", action="store_true", help="print the steps and their limits")
    parser.add_argument("--only", action="append", metavar="STEP", help="only this step (may be given again)")
    parser.add_argument("--limit", action="append", default=[], metavar="STEP=S", help="another limit, in seconds")
    parser.add_argument("--minutes", type=float, default=9, metavar="M", help="for all steps together (9)")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="the Python that has torch")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT") or KIT / "results"),
                        metavar="FOLDER", help="($OUT, or results/ beside run.sh)")
    chosen = parser.parse_args()
    chosen.output = chosen.output.resolve()  # steps run elsewhere
    if "/" in chosen.torch_python:
        chosen.torch_python = os.path.abspath(chosen.torch_python)
    try:
        chosen.limit = {name: int(seconds) for name, seconds in (text.rsplit("=", 1) for text in chosen.limit)}
    except ValueError:
        parser.error("--limit: expected STEP=SECONDS, as in benchmarks=300")
    return chosen


def select(all_steps: list[Step], chosen: argparse.Namespace) -> list[Step]:
    known = [step.name for step in all_steps]
    for name in [*(chosen.only or []), *chosen.limit]:
        if name not in known:
            sys.exit(f"run.sh: no step '{name}'; they are {', '.join(known)}")
    for step in all_steps:
        step.limit = chosen.limit.get(step.name, step.limit)
    return [step for step in all_steps if not chosen.only or step.name in chosen.only]


class Clock:
    """The time that is left."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())

    def __str__(self) -> str:
        return f"{int(self.left()) // 60}:{int(self.left()) % 60:02} left"


class Log:
    """log.txt: what each step prints, as it prints it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def begin(self, title: str) -> None:
        with self.path.open("ab") as file:
            file.write(f"\n=== {title}\n".encode())
            self.start = file.tell()

    def said(self) -> str:
        """By the last step."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read().decode(errors="replace")

    def last_line(self) -> str:
        with self.path.open("rb") as file:
            file.seek(max(self.start, self.path.stat().st_size - 2000))
            return steps.last_line(file.read().decode(errors="replace"))

    def end(self) -> None:
        """Leaves out the middle of what is too long."""
        said = self.said().encode()
        if len(said) > MOST_OF_LOG:
            half = MOST_OF_LOG // 2
            with self.path.open("r+b") as file:
                file.truncate(self.start)
                file.seek(self.start)
                file.write(said[:half] + b"\n... left out ...\n" + said[-half:])


def show(line: str, *, passing: bool = False) -> None:
    """A line; on a terminal a passing one is overwritten by the next."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line[:160] if passing else line}", end="" if passing else "\n", flush=True)
    else:
        print(line, flush=True)


def run(step: Step, title: str, limit: int, clock: Clock, log: Log, dry: bool) -> dict:
    """What becomes of a step, for results.json."""
    result: dict = {"name": step.name, "limit": limit, "seconds": 0.0, "numbers": {}}
    if step.missing:
        return result | {"status": "skipped", "why": step.missing}
    if limit < 1:
        return result | {"status": "skipped", "why": "no time was left; --minutes gives more, --only chooses"}
    command = step.command(limit)
    log.begin(f"{step.name}: {' '.join(command)}")
    environment = os.environ | step.environment | ({"CUDA_VISIBLE_DEVICES": ""} if dry else {})
    start = shown = time.monotonic()
    with log.path.open("ab") as file:
        process = subprocess.Popen(["timeout", f"--kill-after={KILL_AFTER}", str(limit), *command], cwd=KIT,
                                   env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                code = process.wait(1)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - start > limit + KILL_AFTER + 10:  # held by the driver, which nothing can end
                    code = TIMED_OUT
                    break
                if sys.stdout.isatty() or time.monotonic() - shown > HEARTBEAT:
                    shown = time.monotonic()
                    show(f"[{title}, {clock}] {step.name}, {shown - start:.0f} of {limit} s: {log.last_line()}",
                         passing=True)
    except KeyboardInterrupt:
        process.terminate()  # and timeout ends what it started
        process.wait()
        raise
    said = log.said()
    log.end()
    result["seconds"] = round(time.monotonic() - start, 1)
    status, why, numbers = step.judge(code, said)
    if code == TIMED_OUT or (code == 137 and result["seconds"] >= limit):
        status, why = "timed out", f"after {limit} s; last: {why}"
    if status != "passed":
        result["tail"] = said.splitlines()[-20:]
    return result | {"status": status, "why": why, "numbers": numbers}


def context(chosen: argparse.Namespace, seen: dict, without: str) -> dict:
    """What the numbers depend on."""
    built = KIT / "built.json"
    about = json.loads(built.read_text()) if built.exists() else {"commit": report.commit(KIT)}
    asked = "driver_version,memory.total,clocks.max.sm,clocks.max.mem"
    try:
        said = subprocess.run(["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"], capture_output=True,
                              text=True, timeout=30, check=True).stdout.splitlines()[0]
        about |= dict(zip(("driver", "memory", "highest clock", "highest memory clock"), said.split(", ")))
    except (OSError, subprocess.SubprocessError, IndexError):
        pass
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return seen | about | {"date": now, "system": f"{platform.platform()}, {os.cpu_count()} processors",
                           "dry run": chosen.dry_run, **({"no device": without} if without else {})}


def step_table(results: list[dict]) -> str:
    rows = [[step["name"], step["status"] if step["status"] in ("passed", "skipped") else f"**{step['status']}**",
             f"{step['seconds']:.0f}", step["why"].replace("|", "\\|")] for step in results]
    return report.table(["step", "", "seconds", ""], rows)


def count(results: list[dict]) -> str:
    statuses = [step["status"] for step in results]
    return ", ".join(f"{statuses.count(one)} {one}"
                     for one in ("passed", "failed", "timed out", "skipped", "interrupted") if one in statuses)


def summary(results: dict) -> str:
    title = "Dry run of the GPU kit: nothing was measured" if results["context"]["dry run"] else "The GPU kit's results"
    text = [f"# {title}\n", "".join(f"- {key}: {value}\n" for key, value in results["context"].items()),
            step_table(results["steps"])]
    for step in results["steps"]:
        if "tail" in step and step["status"] in ("failed", "timed out"):
            title = f"## {step['name']} {step['status']}: its last lines\n\n```text"
            text.append("\n".join([title, *step["tail"], "```\n"]))
    if "benchmarks" in results:
        text.append(tables.summary(results["benchmarks"]))
    return "\n".join(text)


def write(results: dict, output: Path) -> None:
    """Whole or not at all: a run may be cut off at any time."""
    for name, text in (("results.json", json.dumps(results, indent=1)), ("summary.md", summary(results))):
        (output / f"{name}.new").write_text(text)
        (output / f"{name}.new").replace(output / name)


def main() -> int:
    chosen = arguments()
    clock = Clock(chosen.minutes)
    scratch = tempfile.TemporaryDirectory(prefix="tempflow-")
    to_run = steps.steps(chosen.output, Path(scratch.name), chosen.torch_python)
    if chosen.list:
        for step in [*to_run, *steps.rehearsal(Path(scratch.name), chosen.torch_python)]:
            print(f"{step.name:20} {step.limit:4} s  {step.missing and 'cannot run here: ' + step.missing}")
        return 0
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if chosen.dry_run else {}
    seen, without = steps.device(KIT / "bin/tempflow_bench_cuda", hidden)
    unasked = bool(without) and not chosen.dry_run
    chosen.dry_run = chosen.dry_run or bool(without)
    if chosen.dry_run:
        to_run = [*steps.rehearsal(Path(scratch.name), chosen.torch_python), *to_run]
    to_run = select(to_run, chosen)
    chosen.output.mkdir(parents=True, exist_ok=True)
    for old in ("results.json", "summary.md", "benchmarks/results.json", "benchmarks/summary.md"):
        (chosen.output / old).unlink(missing_ok=True)
    log = Log(chosen.output / "log.txt")
    results: dict = {"context": context(chosen, seen, without), "steps": []}
    about = results["context"]
    show(f"dry run, nothing is measured: {without or '--dry-run'}" if chosen.dry_run else
         f"{about.get('GPU')}, driver {about.get('driver')}, CUDA {about.get('CUDA runtime')}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for i, step in enumerate(to_run, 1):
            limit = int(min(step.limit, clock.left() - MARGIN))
            title = f"{i}/{len(to_run)}"
            show(f"[{title}, {clock}] {step.name}, at most {limit} s")
            result = run(step, title, limit, clock, log, chosen.dry_run)
            if "us" in result["numbers"]:  # they are many
                results["benchmarks"] = result["numbers"]
                results["benchmarks"]["context"]["commit"] = about["commit"]
                result["numbers"] = {}
            results["steps"].append(result)
            write(results, chosen.output)
            show(f"    {result['status']}, {result['seconds']:.0f} s: {result['why']}")
    except KeyboardInterrupt:
        done = {step["name"] for step in results["steps"]}
        results["steps"] += [{"name": step.name, "limit": step.limit, "seconds": 0.0, "numbers": {},
                              "status": "interrupted", "why": ""} for step in to_run if step.name not in done]
        write(results, chosen.output)
    print(f"\n{step_table(results['steps'])}\n{count(results['steps'])}; results, summary and log: {chosen.output}")
    if unasked:
        return SKIPPED
    return 0 if all(step["status"] in ("passed", "skipped") for step in results["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
