# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""A reward as an HTTP server, to write your own from: python reward_server.py --port 8000, and in training
--reward http://127.0.0.1:8000/

`score` is the only function to change. With --lines it answers on standard input and output instead, as
--reward "program=python reward_server.py --lines" wants it.
"""

import argparse
import base64
import io
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def score(image: Image.Image, prompt: str, metadata: dict) -> float | None:
    """The reward of an image; None if it does not apply. Here: how red it is."""
    red, green, blue = np.asarray(image, dtype=np.float64).mean((0, 1)) / 255
    return red - (green + blue) / 2


def answer(request: bytes) -> bytes:
    """Scores for a request."""
    asked = json.loads(request)
    images = [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in asked["images"]]
    scores = [score(*sample) for sample in zip(images, asked["prompts"], asked["metadata"])]
    return json.dumps({"scores": scores}).encode()


class Handler(BaseHTTPRequestHandler):
    """POST a request, get the scores; 400 for what is not one."""

    def do_POST(self) -> None:
        try:
            status, body = 200, answer(self.rfile.read(int(self.headers["Content-Length"])))
        except Exception as error:
            status, body = 400, json.dumps({"error": str(error)}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--lines", action="store_true", help="JSON lines on standard input and output")
    options = parser.parse_args()
    if options.lines:
        for line in sys.stdin.buffer:
            print(answer(line).decode(), flush=True)
    else:
        ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
