# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of train.py, and the trainer's modules on the path."""

import contextlib
import csv
import importlib.util
import io
import subprocess
import sys
import time
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


def start(folder, *arguments, launcher=()) -> subprocess.Popen:
    """train.py --tiny as a process of its own, or as those of a launcher, for updates without an end."""
    words = ["--tiny", *_COMMON, "--updates", "9999", *map(str, arguments), "--output", str(folder)]
    return subprocess.Popen([sys.executable, *launcher, str(TRAINER / "train.py"), *words], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def wait_for(job, happened) -> None:
    deadline = time.monotonic() + 240
    while not happened():
        assert job.poll() is None, job.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end(job) -> None:
    """Kills a process and, of a launcher, those that it has started."""
    import psutil
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (*psutil.Process(job.pid).children(recursive=True), job):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    job.wait()


def log_of(folder) -> list[dict]:
    with open(Path(folder) / "log.csv", newline="") as file:
        return list(csv.DictReader(file))
