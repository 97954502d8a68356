# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves to read: its numbers as a CSV file, for TensorBoard and Weights & Biases, grids of images, and where
the time went."""

import csv
import dataclasses
import importlib
import io
import os
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from durable import write_text
from errors import TrainerError


class Stopwatch:
    """Seconds by name. `overhead` is what no name has claimed."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.started, self.seconds = time.perf_counter(), {}

    @contextmanager
    def of(self, name: str):
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @property
    def total(self) -> float:
        return time.perf_counter() - self.started

    @property
    def overhead(self) -> float:
        """The fraction of the time that was neither model, decoder, reward nor optimiser."""
        return 1 - sum(self.seconds.values()) / self.total


class Log:
    """A CSV file. On a resume, lines of updates that will come again go."""

    def __init__(self, path: Path, from_update: int) -> None:
        self.path, self.columns = path, None
        if from_update and path.is_file():
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]  # not one cut short
            kept = [row for row in csv.DictReader(whole) if int(row["update"]) < from_update]
            write_text(path, "".join(self._line(row) for row in kept))
        else:
            path.unlink(missing_ok=True)

    def _line(self, row: dict) -> str:
        """A row as text, the first with the names of its columns."""
        text, new = io.StringIO(), self.columns is None
        if new:
            self.columns = list(row)
        writer = csv.DictWriter(text, self.columns, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow({name: f"{v:.8g}" if isinstance(v, float) else v for name, v in row.items()})
        return text.getvalue()

    def write(self, row: dict) -> None:
        line = self._line(row)
        with open(self.path, "a", newline="") as file:
            file.write(line)


def _imported(module: str):
    """A module, or the error that it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        return error


def check_log(options) -> None:
    """Raises TrainerError for a log that was asked for and whose package cannot be imported."""
    for asked, package, module in ((options.tensorboard == "on", "tensorboard", "torch.utils.tensorboard"),
                                   (options.wandb, "wandb", "wandb")):
        if asked and isinstance(error := _imported(module), ImportError):
            raise TrainerError(f"{package} cannot be imported ({error}): pip install {package}, or leave --{package} out")


class RunLog:
    """log.csv, and what else the options ask for. Close it at the end."""

    def __init__(self, options, from_update: int) -> None:
        folder = Path(options.output)
        self.csv, self.tensorboard, self.wandb = Log(folder / "log.csv", from_update), None, None
        tensorboard = None if options.tensorboard == "off" else _imported("torch.utils.tensorboard")
        if hasattr(tensorboard, "SummaryWriter"):
            self.tensorboard = tensorboard.SummaryWriter(folder / "tensorboard", purge_step=from_update or None)
        if options.wandb:
            self.wandb = _imported("wandb").init(project=options.wandb, name=folder.name, dir=folder,
                                                 config=dataclasses.asdict(options))

    def write(self, row: dict) -> None:
        self.csv.write(row)
        numbers = {name: number for name, number in row.items() if name != "update" and number != ""}
        if self.tensorboard:
            for name, number in numbers.items():
                self.tensorboard.add_scalar(name, number, row["update"])
        if self.wandb:
            self.wandb.log(numbers, step=row["update"])

    def close(self) -> None:
        if self.tensorboard:
            self.tensorboard.close()
        if self.wandb:
            self.wandb.finish()


def duration(seconds: float) -> str:
    """1:02:03, 2:03 or 3 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = f"{whole // 60 % 60}:{whole % 60:02}"
    return minutes if whole < 3600 else f"{whole // 3600}:{minutes.zfill(5)}"


def save_grid(images, path: Path) -> None:
    """Images (N, height, width, 3) side by side, as a PNG file."""
    from PIL import Image
    count, height, width, _ = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    grid = np.zeros((rows * height, columns * width, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        grid[top:top + height, left:left + width] = image
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    Image.fromarray(grid).save(beside, format="PNG")
    os.replace(beside, path)
