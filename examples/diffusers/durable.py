# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Files that outlive a crash, checksums that tell whether they did, a folder for one run alone, and an end on request."""

import fcntl
import hashlib
import os
import signal
from contextlib import contextmanager
from pathlib import Path

from errors import TrainerError

_SUMS = "sha256sums"  # as the program sha256sum writes and checks them


class Stopped(Exception):
    """SIGTERM came; the state is saved."""


class StopRequest:
    """Whether SIGTERM has come. A second one ends the process at once."""

    def __init__(self) -> None:
        self.came = False
        self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, number, frame) -> None:
        self.came = True
        signal.signal(signal.SIGTERM, self._before)

    def close(self) -> None:
        signal.signal(signal.SIGTERM, self._before)


def flush(path: Path) -> None:
    """A file's bytes, or a folder's names, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """The file has its old text or its new one, whenever a crash comes."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush(path.parent)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seal(folder: Path) -> None:
    """Writes the checksums of a folder's files beside them, and all of it to the disk."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    (folder / _SUMS).write_text("".join(f"{_sum(p)}  {p.name}\n" for p in files))
    for path in (*files, folder / _SUMS, folder):
        flush(path)


def damaged(folder: Path) -> list[str]:
    """Files of a sealed folder that are gone, not what they were, or have no checksum."""
    if not (folder / _SUMS).is_file():
        return [_SUMS]
    lines = [line.partition("  ") for line in (folder / _SUMS).read_text(errors="replace").splitlines()]
    wrong = [name for total, _, name in lines if not (folder / name).is_file() or _sum(folder / name) != total]
    tensors = {p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".pt")}
    return wrong + sorted(tensors - {name for _, _, name in lines})


@contextmanager
def held(folder: Path):
    """Makes a folder, and keeps other processes out of it where its file system has locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise TrainerError(f"output {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainerError(f"output {folder}: another process writes to it; end that, or choose another") from None
        except OSError:  # no locks here
            pass
        yield
    finally:
        os.close(opened)
