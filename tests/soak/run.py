#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Disturbs the main job for half an hour, and checks that nothing of it is lost.

  ./dev soak                      30 minutes; build/soak/summary.md, memory.svg and events.csv
  ./dev soak --minutes 5 --seed 7

First the job runs undisturbed. Then it runs again and again to its end, from the networks that it has pre-trained, in lives
that are cut short every few seconds: by SIGKILL at any moment and while a file is being written, by SIGTERM, by a full disk,
by a folder that turns read-only, by a second process on the same folder, and between two lives a file is damaged. After each
life every file is whole and metrics.csv begins as the undisturbed one; at the end of each run all products have its bits.
Memory and open files are watched all along. The first broken promise ends it, with exit status 1 and the folder as it was
then.

As root, or where users may make mount namespaces, the job's folder is a small ext4 file system of its own that can be filled
and turned read-only. Elsewhere those two are left out, and the summary says so.
"""

import argparse
import csv
import random
import shutil
import sys
import time
from pathlib import Path

import disturbances
import report
from disk import Disk, enter_mount_namespace
from job import Broken, Job
from life import Life

# The demo with a small flow model, little pre-training and many evaluations, so that a life of a few seconds gets somewhere.
OPTIONS = """--threads 1 --classifier-epochs 1 --autoencoder-steps 300 --width 128 --blocks 1 --pretrain-steps 1200 --updates 60
             --evaluate-every 2 --evaluation-samples 100""".split()


def undisturbed(job: Job, folder: Path) -> Life:
    """The job from its start to its end."""
    life = Life(job.command(folder))
    life.deadline = 3600
    life.expect((0,))
    job.check(folder, job.rows(folder), set())
    return life


class Soak:
    """Runs of the job, in disturbed lives, each compared with the undisturbed one."""

    def __init__(self, scene: disturbances.Scene, reference: Path) -> None:
        self.scene, self.job = scene, scene.job
        self.reference, self.rows = reference, scene.job.rows(reference)
        self.events, self.lives, self.finished, self.began = [], [], 0, time.monotonic()

    def live(self, disturb) -> bool:
        """One life; whether the run is finished, and as the undisturbed one."""
        scene = self.scene
        start, before = time.monotonic() - self.began, self.job.updates(scene.folder)
        outcome = disturb(scene)
        self.job.check(scene.folder, self.rows, scene.damaged)
        after = self.job.updates(scene.folder)
        if after < before and not disturb.__name__.startswith("damage"):
            raise Broken(f"{before} updates were in the checkpoint, now {after}")
        peak = max((s[1] for s in scene.life.samples), default=0)
        self.lives.append((start, scene.life.samples))
        self.events.append({"minute": f"{start / 60:.2f}", "run": self.finished + 1, "disturbance": disturb.__name__,
                            "outcome": outcome, "updates": after, "rows": len(self.job.rows(scene.folder)),
                            "seconds": f"{time.monotonic() - self.began - start:.2f}", "peak_mib": f"{peak / 2**20:.1f}",
                            "open_files": max((s[2] for s in scene.life.samples), default=0)})
        if outcome != disturbances.FINISHED:
            return False
        self.products = self.job.compare(scene.folder, self.reference)
        self.finished += 1
        return True

    def for_minutes(self, minutes: float, events: Path) -> None:
        """Lives for so long, each a line of `events`; the last run then goes on to its end."""
        choices = {d: w for d, w in disturbances.ALL.items() if self.scene.disk or d not in disturbances.NEED_A_DISK}
        until, done = self.began + 60 * minutes, False
        while time.monotonic() < until:
            done = self.live(*self.scene.draw.choices(list(choices), list(choices.values())))
            event, left = self.events[-1], max(0, until - time.monotonic())
            with open(events, "a", newline="") as file:
                writer = csv.DictWriter(file, list(event))
                if len(self.events) == 1:
                    writer.writeheader()
                writer.writerow(event)
            print(f"[{left / 60:4.1f} min left] run {event['run']}, life {len(self.events)}, update {event['updates']:3}: "
                  f"{event['outcome']}", flush=True)
            if done:
                self.afresh()
        if not done:
            print("the last run goes on undisturbed", flush=True)
            self.live(last)

    def afresh(self) -> None:
        """The next run begins, with the networks that this one has pre-trained."""
        for path in self.scene.folder.iterdir():
            if path.is_file():
                path.unlink()


def last(scene) -> str:
    """A life without a disturbance."""
    scene.start().expect((0,))
    return disturbances.FINISHED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="fashion_mnist, built")
    parser.add_argument("--minutes", type=float, default=30, help="of disturbances (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the disturbances (1); their moments also depend on the machine")
    parser.add_argument("--pace", type=float, help="a life lasts 0.1 to 3.2 times so many seconds (1.5 x a start)")
    parser.add_argument("--cache", type=Path, help="begin with these networks (undisturbed/cache of an earlier soak)")
    parser.add_argument("--output", type=Path, default=Path("build/soak"), help="folder for all that it writes (build/soak)")
    o = parser.parse_args()
    mounts = enter_mount_namespace()
    shutil.rmtree(o.output, ignore_errors=True)
    o.output.mkdir(parents=True)
    job, reference = Job(o.program.resolve(), OPTIONS), o.output / "undisturbed"
    if o.cache:
        shutil.copytree(o.cache, reference / "cache")
    print("the job runs undisturbed first: some minutes", flush=True)
    whole = undisturbed(job, reference)
    start = undisturbed(job, reference).samples[-1][0]  # all is done by then
    pace = o.pace or 1.5 * start
    print(f"it took {whole.samples[-1][0]:.0f} s, a start {start:.1f} s; now {o.minutes:g} minutes "
          f"of lives of {pace / 10:.1f} to {3.2 * pace:.0f} s", flush=True)
    disk = Disk(o.output / "disk", 256) if mounts else None
    folder = o.output / ("disk/job" if disk else "job")
    shutil.copytree(reference / "cache", folder / "cache")
    soak = Soak(disturbances.Scene(job, folder, random.Random(o.seed), disk, pace), reference)
    failure = ""
    try:
        soak.for_minutes(o.minutes, o.output / "events.csv")
    except Broken as error:
        failure = str(error)
        shutil.copytree(folder, o.output / "broken")
    finally:
        if disk:
            disk.close()
    text = report.summary(soak, whole, disk, failure)
    (o.output / "summary.md").write_text(text)
    report.draw_memory(soak, whole, o.output / "memory.svg")
    print(text)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
