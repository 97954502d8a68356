# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of train.py, and the trainer's modules on the path."""

import contextlib
import csv
import importlib.util
import io
import subprocess
import sys
from pathlib import Path

TRAINER = Path(__file__).parents[1]
sys.path.insert(0, str(TRAINER))
_MISSING = [name for name in ("diffusers", "peft", "transformers", "yaml", "PIL") if importlib.util.find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if _MISSING else []


def pytest_report_header() -> str:
    return "diffusers trainer: " + (f"SKIPPED, there is no {', '.join(_MISSING)}" if _MISSING else "its packages are there")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "slow: more than some seconds, and seldom what breaks; -m 'not slow' leaves them out")


_COMMON = ["--threads", "1", "--reward", "brightness", "--evaluate-every", "0", "--tensorboard", "off"]


def run(*arguments, launcher=None, tiny: bool = True) -> subprocess.CompletedProcess:
    """train.py on a thread, without evaluations unless they are asked for: in this process, or started by a launcher."""
    words = [*(["--tiny"] if tiny else []), *_COMMON, *map(str, arguments)]
    if launcher is not None:
        command = [sys.executable, *launcher, str(TRAINER / "train.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=TRAINER)
    import train
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        status = train.main(words)
    return subprocess.CompletedProcess(words, status, said.getvalue(), complained.getvalue())


def succeed(*arguments, **options) -> str:
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def log_of(folder) -> list[dict]:
    with open(Path(folder) / "log.csv", newline="") as file:
        return list(csv.DictReader(file))
