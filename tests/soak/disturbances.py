# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to a running job. Each function disturbs one life, checks how it ends, and says what happened."""

import os
import resource
import signal
import time

from job import Broken
from life import Life

FINISHED = "finished"
FULL, READ_ONLY = "No space left on device", "Read-only file system"


class Scene:
    """A job in its folder, with a generator of random numbers and, where the system lets us, a disk."""

    def __init__(self, job, folder, draw, disk, pace: float) -> None:
        self.job, self.folder, self.draw, self.disk, self.pace = job, folder, draw, disk, pace
        self.life, self.damaged, self._left = None, set(), set()

    def start(self, *options, **more) -> Life:
        self._left = set(self.job.temporaries(self.folder))
        self.life = Life(self.job.command(self.folder, *options), **more)
        return self.life

    def while_running(self) -> bool:
        """Lets the job run for a random time, log-uniform; False when it ended by itself."""
        seconds = self.pace * 10 ** self.draw.uniform(-1, 0.5)
        if self.life.ended(seconds):
            self.life.expect((0,))
            return False
        return True

    def size(self) -> int:
        """Of a checkpoint, or of the largest file before there is one."""
        sizes = {path.name: path.stat().st_size for path in self.job.kept(self.folder)}
        return sizes.get("checkpoint.bin", max(sizes.values(), default=1 << 20))

    def being_written(self, wanted: str, since: int) -> list[str]:
        """Temporary files whose name ends so, of this life."""
        found = []
        for name in self.job.temporaries(self.folder):
            try:
                if name.endswith(wanted) and (self.folder / name).stat().st_mtime_ns >= since - 10**7:
                    found.append(name.rsplit("/", 1)[-1])
            except FileNotFoundError:  # renamed just now
                pass
        return found

    def without_temporaries(self) -> None:
        if left := set(self.job.temporaries(self.folder)) - self._left:
            raise Broken(f"left {left}")


def kill(scene) -> str:
    """SIGKILL at a random moment."""
    life = scene.start()
    if not scene.while_running():
        return FINISHED
    life.send(signal.SIGKILL)
    life.expect((-signal.SIGKILL, 0))
    return "killed"


def kill_while_writing(scene) -> str:
    """SIGKILL up to 3 ms after a temporary file has appeared."""
    life = scene.start()
    began, until = time.time_ns(), time.monotonic() + 4 * scene.pace
    wanted, skip = scene.draw.choice(("checkpoint.bin.tmp", "checkpoint.bin.tmp", ".tmp")), scene.draw.randrange(3)
    seen, last = [], []
    while life.process.poll() is None and time.monotonic() < until:
        seen = scene.being_written(wanted, began)
        skip -= bool(seen and not last)
        if skip < 0:
            break
        last = seen
        time.sleep(0.0003)
    time.sleep(scene.draw.uniform(0, 0.003))
    life.send(signal.SIGKILL)
    if life.expect((-signal.SIGKILL, 0)) == 0:
        return FINISHED
    left = scene.being_written(".tmp", began)
    return f"killed while it wrote {left[0].split('-')[0]}" if left else "killed just after a write" if seen else "killed"


def terminate(scene) -> str:
    """SIGTERM: a checkpoint, then exit status 143."""
    life = scene.start()
    if not scene.while_running() or not life.catches(signal.SIGTERM):
        return FINISHED
    began, before = time.time(), scene.job.updates(scene.folder)
    life.send(signal.SIGTERM)
    if life.expect((128 + signal.SIGTERM, 0), within=300) == 0:
        return FINISHED
    scene.without_temporaries()
    after = scene.job.updates(scene.folder)
    if "update " in life.said and (scene.folder / "checkpoint.bin").stat().st_mtime < began - 0.2:
        raise Broken("SIGTERM, and no checkpoint was written")
    return f"ended by SIGTERM in {time.time() - began:.1f} s, {after - before} updates saved that were not"


def terminate_twice(scene) -> str:
    """SIGTERM, and another one up to 0.3 s later: at once."""
    life = scene.start()
    if not scene.while_running() or not life.catches(signal.SIGTERM):
        return FINISHED
    life.send(signal.SIGTERM)
    time.sleep(scene.draw.uniform(0, 0.3))
    life.send(signal.SIGTERM)
    status = life.expect((-signal.SIGTERM, 128 + signal.SIGTERM, 0), within=60)
    return {0: FINISHED, -signal.SIGTERM: "ended by the second SIGTERM"}.get(status, "ended by the first SIGTERM")


def fill_disk(scene) -> str:
    """No space but for up to one and a half checkpoints, from the start or from a random moment on."""
    left = scene.draw.choice((0, int(scene.size() * scene.draw.uniform(0, 1.5))))
    if early := scene.draw.random() < 0.3:
        scene.disk.fill(left)
    life = scene.start()
    if not early:
        if not scene.while_running():
            return FINISHED
        scene.disk.fill(left)
    if not life.ended(4 * scene.pace):  # it has written nothing, or found room
        life.send(signal.SIGKILL)
    status = life.expect((1, 0, -signal.SIGKILL), FULL)
    scene.disk.empty()
    if status == 1:
        scene.without_temporaries()
        return "ended by the full disk"
    return FINISHED if status == 0 else "killed on a full disk, before it noticed"


def limit_files(scene) -> str:
    """No file may grow beyond a part of a checkpoint: what a full disk is where there is no disk to fill."""
    most = int(scene.draw.uniform(0, 1) * scene.size())
    life = scene.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)), restore_signals=False)
    if not life.ended(4 * scene.pace):
        life.send(signal.SIGKILL)
    status = life.expect((1, 0, -signal.SIGKILL), "File too large")
    if status == 1:
        scene.without_temporaries()
    return {0: FINISHED, 1: "ended by the limit of a file's size"}.get(status, "killed before it noticed")


def make_read_only(scene) -> str:
    """A file system that turns read-only, before the start or at a random moment."""
    early = scene.draw.random() < 0.4
    if early:
        scene.disk.read_only(True)
    life = scene.start()
    if not early:
        if not scene.while_running():
            return FINISHED
        if not scene.disk.read_only(True):  # just then it wrote
            life.send(signal.SIGKILL)
    if not life.ended(60 if early else 4 * scene.pace):
        if early:
            raise Broken(f"read-only from the start, and it works on; it said\n{life.said}")
        life.send(signal.SIGKILL)
    status = life.expect((1, -signal.SIGKILL) if early else (1, 0, -signal.SIGKILL), READ_ONLY)
    scene.disk.read_only(False)
    return {0: FINISHED, 1: "ended by the read-only folder"}.get(status, "killed before it noticed")


def damage(scene, path=None) -> str:
    """Between two lives a file's bytes change: a bit, a block, its end. The next life says so and goes on."""
    kept = scene.job.kept(scene.folder)
    newest, previous = scene.folder / "checkpoint.bin", scene.folder / "checkpoint.previous.bin"
    if not kept:
        return kill(scene)
    path = path or (newest if newest in kept and scene.draw.random() < 0.6 else scene.draw.choice(kept))
    how, data = scene.draw.choice(("bit", "block", "end", "empty")), bytearray(path.read_bytes())
    if how == "bit":
        place = scene.draw.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
    elif how == "block":
        place = scene.draw.randrange(len(data))
        data[place:place + 4096] = os.urandom(len(data[place:place + 4096]))
    else:
        del data[scene.draw.randrange(len(data)) if how == "end" else 0:]
    path.write_bytes(data)
    told = f"{path.name.rpartition('-')[0] or path.name}: {how}"
    scene.damaged.add(path)
    alone = path == newest and not (previous.exists() and scene.job.whole(previous))
    life = scene.start()
    if alone:
        life.expect((1,), "--restart", 300)
        life = scene.start("--restart")
        while newest.exists() and not scene.job.whole(newest) and life.process.poll() is None:
            time.sleep(0.1)  # until then the next life would be refused too
    if path != previous:  # which is read only when it is needed
        until = time.monotonic() + 300
        while not alone and path.name not in life.said and time.monotonic() < until and life.process.poll() is None:
            time.sleep(0.02)
        if not alone and path.name not in life.said:
            life.send(signal.SIGKILL)
            raise Broken(f"{told}: not noticed (status {life.end()}); it said\n{life.said}")
    if path.parent.name == "cache" and "partial" not in path.name:  # it is made again, which few lives would be long enough for
        while life.process.poll() is None and not scene.job.whole(path):
            time.sleep(0.1)
    if scene.while_running():
        life.send(signal.SIGKILL)
    if life.expect((-signal.SIGKILL, 0)) == 0:
        return FINISHED
    return f"damaged {told}; {'refused, --restart' if alone else 'went on'}"


def start_twice(scene) -> str:
    """A second process on the same folder is refused, and the first does not notice."""
    life = scene.start()
    if not scene.while_running():
        return FINISHED
    other = Life(scene.job.command(scene.folder))
    try:
        other.expect((1,), "another process", 60)
    except Broken:
        if life.process.poll() is None:
            raise
        return FINISHED  # the first had ended
    if scene.while_running():
        life.send(signal.SIGKILL)
    return FINISHED if life.expect((-signal.SIGKILL, 0)) == 0 else "a second process was refused"


# How often each is chosen.
ALL = {kill: 8, kill_while_writing: 8, terminate: 5, terminate_twice: 1, fill_disk: 4, limit_files: 1, make_read_only: 3,
       damage: 5, start_twice: 2}
NEED_A_DISK = (fill_disk, make_read_only)
