# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A small disk that can be filled, and made read-only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_ALONE = "TEMPFLOW_SOAK_MOUNTS"


def enter_mount_namespace() -> bool:
    """Starts this script again where its mounts are its own and end with it. False: this system does not let us."""
    if _ALONE in os.environ:
        return os.environ.pop(_ALONE) == "yes"
    for options in ([] if os.geteuid() == 0 else ["--map-root-user"],):
        unshare = [shutil.which("unshare") or "unshare", "--mount", *options]
        try:
            works = subprocess.run([*unshare, "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True).returncode == 0
        except OSError:
            works = False
        if works:
            os.environ[_ALONE] = "yes"
            os.execv(unshare[0], [*unshare, sys.executable, *sys.argv])
    return False


class Disk:
    """A file system of its own on `place`: ext4 in a file, or else in memory. `kind` says which."""

    def __init__(self, place: Path, mebibytes: int) -> None:
        self.place, self.filler = place, place / "filler"
        place.mkdir(parents=True, exist_ok=True)
        image = place.with_suffix(".img")
        image.unlink(missing_ok=True)
        with open(image, "wb") as file:
            file.truncate(mebibytes << 20)
        if self._try("mkfs.ext4", "-q", "-m", "0", "-F", image) and self._try("mount", "-o", "loop", image, place):
            self.kind = "ext4"
        else:
            image.unlink()
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", place], check=True)
            self.kind = "tmpfs"

    @staticmethod
    def _try(*command) -> bool:
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except OSError:
            return False

    def fill(self, left: int) -> None:
        """Takes the space away, but for so many bytes."""
        free = os.statvfs(self.place)
        size = free.f_bfree * free.f_frsize - left
        if size > 0:
            with open(self.filler, "wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError:  # the job was faster: full it is
                    pass

    def empty(self) -> None:
        self.filler.unlink(missing_ok=True)

    def read_only(self, wanted: bool) -> bool:
        """False: a file is open for writing."""
        return self._try("mount", "-o", f"remount,{'ro' if wanted else 'rw'}", self.place)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], capture_output=True)
        self.place.with_suffix(".img").unlink(missing_ok=True)
