# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A process of the job from its start to its end, with its memory and its open files on the way."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from job import Broken

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Life:
    """Samples (seconds since the start, resident bytes, open files) four times a second."""

    def __init__(self, command: list[str], **more) -> None:
        self.began, self.samples, self.deadline = time.monotonic(), [], 600
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace", **more)
        self.said, self.lines = "", []
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._listen, self._watch)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.said += line
            self.lines.append((time.monotonic() - self.began, line))

    def _watch(self) -> None:
        about = Path(f"/proc/{self.process.pid}")
        while self.process.returncode is None:
            try:
                pages = int((about / "statm").read_text().split()[1])
                opened = len(os.listdir(about / "fd"))
            except (OSError, IndexError):
                return
            if pages:  # 0: it has ended, and nobody has asked yet
                self.samples.append((time.monotonic() - self.began, pages * _PAGE, opened))
            time.sleep(0.25)

    def ended(self, within: float) -> bool:
        """Whether it ends within so many seconds."""
        try:
            self.process.wait(within)
            return True
        except subprocess.TimeoutExpired:
            return False

    def catches(self, what: signal.Signals) -> bool:
        """Waits until the program has a handler for a signal: until then it is still being loaded. False: it has ended."""
        while self.process.poll() is None:
            try:
                status = Path(f"/proc/{self.process.pid}/status").read_text()
            except OSError:
                return False
            caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
            if int(caught.split()[1], 16) >> (what - 1) & 1:
                return True
            time.sleep(0.01)
        return False

    def send(self, what: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(what)

    def end(self, within: float | None = None) -> int:
        """Waits for the end, which is due; the exit status."""
        within = self.deadline if within is None else within
        if not self.ended(within):
            self.process.kill()
            self.process.wait()
            raise Broken(f"still runs after {within} s; it said\n{self.said}")
        for thread in self._threads:
            thread.join()
        return self.process.returncode

    def expect(self, statuses: tuple[int, ...], word: str = "", within: float | None = None) -> int:
        """Its exit status, one of these; a status of 1 comes with a word in what it said."""
        status = self.end(within)
        if status not in statuses or (status == 1 and word not in self.said):
            raise Broken(f"exit status {status}, expected {' or '.join(map(str, statuses))}"
                         f"{f' with {word!r}' if word else ''}; it said\n{self.said}")
        return status
