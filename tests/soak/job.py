# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The main job, examples/fashion_mnist: how it is started, what it leaves, and how far it is."""

import csv
import struct
import zlib
from pathlib import Path

TIMES = ("seconds", "cpu_seconds")  # all else in metrics.csv is equal in equal runs
MAGIC = b"tempflow fashion\n"


class Broken(Exception):
    """The job has not kept a promise."""


class Job:
    """`options` are the program's own."""

    def __init__(self, program: Path, options: list[str]) -> None:
        self.program, self.options = program, options

    def command(self, folder: Path, *more: str) -> list[str]:
        return [str(self.program), "--output", str(folder), "--cache", str(folder / "cache"), *self.options, *more]

    @staticmethod
    def rows(folder: Path) -> list[dict]:
        """metrics.csv without times; nothing where there is none yet."""
        if not (folder / "metrics.csv").exists():
            return []
        text = (folder / "metrics.csv").read_text()
        if not text.endswith("\n"):
            raise Broken("metrics.csv ends within a line")
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(text.splitlines())]

    @staticmethod
    def files(folder: Path) -> list[str]:
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    @classmethod
    def temporaries(cls, folder: Path) -> list[str]:
        return [name for name in cls.files(folder) if name.endswith(".tmp")]

    @staticmethod
    def kept(folder: Path) -> list[Path]:
        """All files with a checksum: pre-trained networks, and the run's checkpoints."""
        return [p for p in (*sorted((folder / "cache").glob("*-*")), folder / "checkpoint.bin",
                            folder / "checkpoint.previous.bin") if p.is_file() and p.suffix != ".tmp"]

    @staticmethod
    def whole(path: Path) -> bool:
        """Whether a file is there and has its checksum."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return False
        return data.startswith(MAGIC) and zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]

    @classmethod
    def updates(cls, folder: Path) -> int:
        """Updates in the newest checkpoint that is whole; 0 where there is none."""
        both = (folder / "checkpoint.bin", folder / "checkpoint.previous.bin")
        path = next((p for p in both if cls.whole(p)), None)
        if path is None:
            return 0
        head = path.read_bytes()
        version, fingerprint = struct.unpack_from("<IQ", head, len(MAGIC))
        return struct.unpack_from("<i", head, len(MAGIC) + 12 + fingerprint)[0]

    def check(self, folder: Path, reference: list[dict], damaged: set[Path]) -> None:
        """What holds at any moment: metrics begin as the reference's, and files are whole, but for those that we damaged."""
        broken = {path for path in self.kept(folder) if not self.whole(path)}
        if broken - damaged:
            raise Broken(f"not whole: {', '.join(path.name for path in broken - damaged)}")
        damaged &= broken
        for path in folder.glob("*.png"):
            data = path.read_bytes()
            if not (data.startswith(b"\x89PNG\r\n") and data.endswith(b"IEND\xaeB`\x82")):
                raise Broken(f"{path.name} is not whole")
        rows = self.rows(folder)
        if rows != reference[:len(rows)]:
            raise Broken(f"metrics.csv has other rows than the undisturbed run: {rows} {reference[:len(rows)]}")

    def compare(self, folder: Path, reference: Path) -> list[str]:
        """The products of two finished runs, which are equal; their names."""
        if self.files(folder) != self.files(reference):
            raise Broken(f"left {self.files(folder)}, the undisturbed run {self.files(reference)}")
        if self.rows(folder) != self.rows(reference):
            raise Broken("metrics.csv differs from the undisturbed run's")
        names = [name for name in self.files(folder)
                 if Path(name).parent.name == "cache" or name in ("samples_before.png", "samples_after.png", "reward.png")]
        for name in names:
            if (folder / name).read_bytes() != (reference / name).read_bytes():
                raise Broken(f"{name} differs from the undisturbed run's")
        if self.state(folder) != self.state(reference):
            raise Broken("the state in checkpoint.bin differs from the undisturbed run's")
        return [*(Path(name).name.split("-")[0] for name in names), "checkpoint.bin", "metrics.csv"]

    def state(self, folder: Path) -> bytes:
        """Updates, weights, average and optimiser in the last checkpoint: all before its rows, which hold times."""
        data = (folder / "checkpoint.bin").read_bytes()
        place = len(MAGIC) + 4
        place += 8 + struct.unpack_from("<Q", data, place)[0] + 4
        for _ in range(4):  # weights, average, means, squares: matrices of floats
            rows, columns = struct.unpack_from("<qq", data, place)
            place += 16 + 4 * rows * columns
        return data[:place + 8]  # and the number of steps
