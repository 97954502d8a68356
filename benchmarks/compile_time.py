# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""How long a file compiles that only includes tempflow's umbrella header."""

import os
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

LIMITS = {"c++": 1.0, "nvcc": 2.5}  # seconds
ROUNDS = 5


def measure(include: Path) -> list[dict]:
    """Best user time of each compiler that is found, in seconds, and what it should stay below."""
    found = []
    for kind, limit in LIMITS.items():
        compiler = shutil.which(os.environ.get("CXX", "c++") if kind == "c++" else kind)
        if not compiler:
            continue
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "umbrella.cpp" if kind == "c++" else "umbrella.cu")
            source.write_text("#include <tempflow/tempflow.hpp>\n")
            command = [compiler, "-std=c++20", "-O2", "-c", "-I", str(include), str(source), "-o", f"{folder}/out.o"]
            times = []
            for _ in range(ROUNDS):
                before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
                done = subprocess.run(command, capture_output=True, check=False)
                if done.returncode != 0:
                    break
                times.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        found.append({"compiler": kind, "seconds": min(times) if len(times) == ROUNDS else None, "below": limit})
    return found
