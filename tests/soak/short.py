# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A soak of some seconds for ctest, each disturbance in its turn: short.py PROGRAM FOLDER CACHE.

CACHE: the networks that `fashion_mnist.py improves` has pre-trained.
"""

import random
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "example"))

import disturbances as d
from disk import Disk, enter_mount_namespace
from fashion_mnist import SMALL
from job import Job
from run import Soak, last, undisturbed

def damage_newest(scene) -> str:
    return d.damage(scene, scene.folder / "checkpoint.bin")


ORDER = {  # and how some lives must have ended
    d.kill: "", d.limit_files: "ended by the limit", d.terminate: "ended by SIGTERM", d.start_twice: "a second process",
    damage_newest: "damaged checkpoint", d.kill_while_writing: "", d.make_read_only: "", d.fill_disk: "", d.terminate_twice: "",
}


class Scene(d.Scene):
    """Disturbs a life when it has printed one more evaluation, not after a random time."""

    def while_running(self) -> bool:
        known = len(self.job.rows(self.folder))
        while self.life.process.poll() is None:
            if len(self.job.rows(self.folder)) > known:
                return True
            time.sleep(0.005)
        self.life.expect((0,))
        return False


def main(program: Path, folder: Path, cache: Path) -> None:
    mounts = enter_mount_namespace()
    shutil.rmtree(folder, ignore_errors=True)
    job = Job(program, [*SMALL, "--updates", "16", "--evaluate-every", "1"])
    shutil.copytree(cache, folder / "undisturbed" / "cache")
    undisturbed(job, folder / "undisturbed")
    disk = Disk(folder / "disk", 48) if mounts else None
    place = folder / ("disk/job" if disk else "job")
    shutil.copytree(cache, place / "cache")
    soak = Soak(Scene(job, place, random.Random(5), disk, 30), folder / "undisturbed")
    try:
        for disturb, outcome in ORDER.items():
            if disturb in d.NEED_A_DISK and not disk:
                print(f"skipped: {disturb.__name__}, as this system allows no mounts")
                continue
            if soak.live(disturb):
                soak.afresh()
            told = soak.events[-1]["outcome"]
            print(f"{disturb.__name__}: {told}", flush=True)
            assert outcome in told, (disturb.__name__, told)
        assert soak.live(last)
    finally:
        if disk:
            disk.close()
    print(f"{len(soak.events)} lives, then the undisturbed run's bits: {', '.join(soak.products)}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
