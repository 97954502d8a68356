# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Rewards outside this process: an HTTP server, or a program that reads and writes JSON lines.

A request is {"images": [PNG as base64, ...], "prompts": [...], "metadata": [...]}, the answer {"scores": [number or null,
...]}, one for each image; null: the reward does not apply to it. reward_server.py is a server to begin with.
"""

import base64
import io
import json
import queue
import shlex
import subprocess
import threading
import urllib.error
import urllib.request


class RewardError(Exception):
    """A reward that did not answer as it should."""


def request_of(images, prompts) -> bytes:
    """A request, as a line of JSON."""
    from PIL import Image
    encoded = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        encoded.append(base64.b64encode(file.getvalue()).decode())
    return json.dumps({"images": encoded, "prompts": [p.text for p in prompts],
                       "metadata": [p.metadata for p in prompts]}).encode() + b"\n"


def scores_of(answer: bytes) -> list:
    """The scores of an answer. Raises RewardError for anything else: text, say, or a number beyond those of float."""
    try:
        scores = json.loads(answer)["scores"]
        if not isinstance(scores, list) or any(s is not None and type(s) not in (int, float) for s in scores):
            raise TypeError
        return [None if s is None else float(s) for s in scores]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise RewardError(f"expected {{\"scores\": [...]}}, got {answer[:80]!r}") from None


class ServerReward:
    """Asks a server, a POST a batch."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url, timeout

    def __call__(self, images, prompts) -> list:
        request = urllib.request.Request(self.url, request_of(images, prompts), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return scores_of(answer.read())
        except urllib.error.HTTPError as error:
            raise RewardError(f"{self.url} answers {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise RewardError(f"{self.url} does not answer: {error.reason}") from None
        except TimeoutError:
            raise RewardError(f"{self.url} did not answer in {self.timeout} s") from None


class ProgramReward:
    """Asks a program, a line a batch. One that ended, or did not answer in time, is started again."""

    def __init__(self, command: str, timeout: float) -> None:
        self.command, self.timeout = shlex.split(command), timeout
        self.process, self.answers = None, queue.Queue()

    def _start(self) -> None:
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except (OSError, IndexError) as error:
            raise RewardError(f"cannot run {' '.join(self.command)}: {error}") from None
        self.answers = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self.answers), daemon=True).start()

    @staticmethod
    def _read(process, answers) -> None:
        for line in process.stdout:
            answers.put(line)
        answers.put(None)  # it ended

    def __call__(self, images, prompts) -> list:
        if self.process is None:
            self._start()
        if not self.answers.empty() and self.answers.queue[0] is not None:
            self.close()
            raise RewardError(f"{self.command[0]} answered a request with more than one line")
        try:
            self.process.stdin.write(request_of(images, prompts))
            self.process.stdin.flush()
            answer = self.answers.get(timeout=self.timeout)
        except (OSError, queue.Empty) as error:
            answer, late = None, isinstance(error, queue.Empty)
        else:
            late = False
        if answer is None:
            self.close()
            raise RewardError(f"{self.command[0]} " + (f"did not answer in {self.timeout} s" if late else "ended"))
        try:
            return scores_of(answer)
        except RewardError:
            self.close()  # its next line could be the answer to this request
            raise

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
