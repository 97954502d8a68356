#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Compares methods of the family on the main job, each tuned with the same budget on seeds of its own.

  ./dev compare                    everything; results in build/compare/, docs/comparison.md and its pictures
  ./dev compare --task jpeg        one task
  ./dev compare --report-only      write the report again from the runs that are there

For each level of the judge and each method a recipe is chosen: the setting, and the number of updates, by which the
mean of the tuning seeds reached the level at the least cost, with pictures within the limit of the Fréchet distance.
What is reported is what the recipes give on other seeds. Killed and started again it goes on where it was. Takes some
three hours on two cores.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import curves
import write
from methods import METHODS, TASKS
from progress import Progress

TUNING_SEEDS = (101, 102)
REPORT_SEEDS = (1, 2, 3, 4, 5)


class MissingRun(Exception):
    """A run that a report needs has not been made."""


class Runner:
    """Runs of the main job, each in a folder of its own, a thread for each."""

    def __init__(self, program: Path, folder: Path, jobs: int) -> None:
        self.program, self.folder, self.jobs = program, folder, jobs
        self.build = hashlib.sha256(program.read_bytes()).hexdigest()[:8]  # other programs, other runs

    def place(self, task, setting: dict, seed: int) -> Path:
        options = {**task.options, **setting}
        name = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / f"{task.name}-{self.build}" / name / f"seed-{seed}"

    def curve(self, task, setting: dict, seed: int):
        """The rows of a finished run."""
        place = self.place(task, setting, seed)
        if not (place / "done").exists():
            raise MissingRun(f"the run {place} is missing")
        return curves.read(place / "metrics.csv")

    def command(self, task, setting: dict, seed: int) -> list:
        options = {**task.options, **setting}
        return [str(self.program), "--threads", "1", "--output", str(self.place(task, setting, seed)),
                "--cache", str(self.folder / "cache" / f"seed-{seed}"), "--seed", str(seed), "--run-seed", str(20 + seed),
                *(word for option in options.items() for word in option)]

    def run(self, task, setting: dict, seed: int) -> None:
        place = self.place(task, setting, seed)
        place.mkdir(parents=True, exist_ok=True)
        (place / "setting.json").write_text(json.dumps({**task.options, **setting}, indent=1) + "\n")
        with open(place / "log.txt", "w") as log:
            done = subprocess.run(self.command(task, setting, seed), stdin=subprocess.DEVNULL, stdout=log,
                                  stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command(task, setting, seed))}\nended with {done.returncode}; "
                               f"see {place / 'log.txt'}")
        (place / "done").touch()

    def run_all(self, what: str, wanted: list) -> None:
        """Runs (task, setting, seed) that are not done. Pre-trains each seed once, before its runs need it."""
        wanted = [w for w in dict.fromkeys((t, json.dumps(s, sort_keys=True), seed) for t, s, seed in wanted)
                  if not (self.place(w[0], json.loads(w[1]), w[2]) / "done").exists()]
        if not wanted:
            return
        progress = Progress(len(wanted))
        progress.show(what)
        first = {seed: (task, setting, seed) for task, setting, seed in reversed(wanted)}
        for batch in (list(first.values()), [w for w in wanted if w not in first.values()]):
            pool = ThreadPoolExecutor(self.jobs)
            try:
                futures = [pool.submit(self.run, task, json.loads(setting), seed) for task, setting, seed in batch]
                for future in as_completed(futures):
                    future.result()
                    progress.done += 1
                    progress.show(what)
            finally:  # after a failure nothing more is begun
                pool.shutdown(cancel_futures=True)
        print()


def choices(runner: Runner, task, price: float = 0) -> dict:
    """The cheapest recipe of each method and level on the tuning seeds: {(method, level): (setting, updates)}."""
    chosen = {}
    for method in METHODS:
        for level in task.levels:
            recipes = []
            for choice in method.tuning:
                setting = method.setting(choice)
                mean = curves.mean([runner.curve(task, setting, seed) for seed in TUNING_SEEDS])
                reached = curves.reach(mean, task.column, level, task.frechet_limit)
                if reached:
                    recipes.append((reached["cost"] + price * reached["scored"], json.dumps(setting, sort_keys=True),
                                    reached["update"]))
            if recipes:
                _, setting, updates = min(recipes)
                chosen[method.name, level] = json.loads(setting), updates
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--task", choices=[task.name for task in TASKS], help="run one task instead of all")
    parser.add_argument("--folder", type=Path, default=Path("build/compare"), help="for runs [build/compare]")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="for the report [docs]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time [one per processor]")
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    chosen = parser.parse_args()
    runner = Runner(chosen.program, chosen.folder, chosen.jobs)
    reports = []
    for task in TASKS:
        runs = not chosen.report_only and chosen.task in (None, task.name)
        try:
            if runs:
                runner.run_all(f"tuning, {task.name}", [(task, method.setting(choice), seed) for method in METHODS
                                                        for choice in method.tuning for seed in TUNING_SEEDS])
            picked = {price: choices(runner, task, price) for price in write.PRICES}
            if runs:
                runner.run_all(f"reporting, {task.name}",
                               [(task, setting, seed) for of_price in picked.values()
                                for setting, _ in of_price.values() for seed in REPORT_SEEDS])
            reports.append(write.TaskReport(runner, task, picked, REPORT_SEEDS))
        except MissingRun as missing:
            print(f"compare: {task.name} is left out of the report: {missing}")
    if not reports:
        sys.exit("compare: nothing to report")
    write.report(reports, chosen.docs, TUNING_SEEDS, REPORT_SEEDS)


if __name__ == "__main__":
    main()
