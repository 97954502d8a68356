# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What the kit runs, the most telling and the riskiest first, and what it reads from what that prints."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

HERE = Path(__file__).resolve().parent
KIT = HERE.parents[1]
SKIPPED = 77
# Every operation, in fp32: looking for races and stray accesses slows a program down many times.
SANITIZED = "* - float,group advantages*"
# What the example prints when it does not find its pre-trained networks in the kit.
TRAINED = "test accuracy"
SKIPS = re.compile(r"^skipped: (.*)", re.M)

# What a step found: a note for people, and numbers.
Found = tuple[str, dict]


@dataclass
class Step:
    name: str
    limit: int  # seconds
    command: Callable[[int], list[str]]  # of the limit, for what ends well before it is ended
    environment: dict[str, str] = field(default_factory=dict)
    missing: str = ""  # why it cannot run on this machine
    never: str = ""  # words that it must not print
    read: Callable[[str], Found] = lambda output: (last_line(output), {})

    def judge(self, code: int, output: str) -> tuple[str, str, dict]:
        """passed, failed or skipped; why; numbers."""
        skips = SKIPS.search(output)
        if code == SKIPPED or skips:
            return "skipped", skips.group(1) if skips else last_line(output), {}
        # Programs without a word for it: the example, and compute-sanitizer on machines that it does not know.
        for words in ("no CUDA device", "Device not supported"):
            if code != 0 and words in output:
                return "skipped", output[output.index(words):].splitlines()[0].split(". ")[0], {}
        note, numbers = self.read(output)
        if self.never and self.never in output:
            return "failed", f"it printed '{self.never}'", numbers
        return ("passed" if code == 0 else "failed"), note, numbers


def last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "printed nothing"


# Where things are.

def cuda_folders() -> list[Path]:
    """Where a CUDA toolkit may lie."""
    nvcc = shutil.which("nvcc")
    named = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), nvcc and Path(nvcc).resolve().parents[1],
             "/usr/local/cuda", *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    return list(dict.fromkeys(Path(folder) for folder in named if folder))


def sanitizer() -> str:
    """compute-sanitizer, or nothing."""
    places = [folder / part / "compute-sanitizer" for folder in cuda_folders() for part in ("bin", "compute-sanitizer")]
    return shutil.which("compute-sanitizer") or next((str(place) for place in places if place.is_file()), "")


def packages(python: str) -> list[Path]:
    """Where the packages of a Python lie."""
    asked = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True,
                           text=True)
    return [Path(asked.stdout.strip())] if asked.returncode == 0 else []


def libraries(program: Path, torch_python: str) -> tuple[dict[str, str], str]:
    """The environment in which a program finds cuBLAS, of the toolkit or of PyTorch; or what it lacks."""
    toolkit = [folder / part for folder in cuda_folders() for part in ("lib64", "lib", "targets/x86_64-linux/lib")]
    wheels = [lib for place in packages(torch_python) for lib in sorted(place.glob("nvidia/*/lib"))]
    tried = [{}, *({"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
                   for folder in [*toolkit, *wheels] if list(folder.glob("libcublas.so.*")))]
    said = ""
    try:
        for environment in tried:
            started = subprocess.run([program, "--help"], capture_output=True, text=True, env=os.environ | environment)
            if started.returncode == 0:
                return environment, ""
            said = said or last_line(started.stderr)
    except OSError as problem:
        return {}, str(problem)
    return {}, f"{said}; no cuBLAS beside nvcc or torch that would do either: LD_LIBRARY_PATH may name its folder"


def device(program: Path, environment: dict[str, str]) -> tuple[dict, str]:
    """What the benchmark says of the device; or why it has none."""
    try:
        asked = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                               env=os.environ | environment)
        if asked.returncode == 0:
            return json.loads(asked.stdout.splitlines()[0])["context"], ""
        return {}, last_line(asked.stdout + asked.stderr).removeprefix("skipped: ")
    except (OSError, subprocess.TimeoutExpired, ValueError, LookupError) as problem:
        return {}, str(problem)


# What is read from what they print.

def of_sanitizer(output: str) -> Found:
    summaries = re.findall(r"\w+ SUMMARY: (.*)", output)
    errors = sum(int(number) for number in re.findall(r"ERROR SUMMARY: (\d+)", output))
    return (summaries[-1] if summaries else last_line(output)), ({"errors": errors} if summaries else {})


def of_benchmarks(folder: Path) -> Callable[[str], Found]:
    def read(output: str) -> Found:
        try:
            results = json.loads((folder / "results.json").read_text())
        except (OSError, ValueError):
            return last_line(output), {}
        peers = {name.split("/")[1] for name in results["us"]}
        note = f"{len(results['us'])} measured"
        note += "".join(f"; no {who}" for who in ("torch_eager", "torch_compile") if who not in peers)
        if results["errors"]:
            note += f"; {len(results['errors'])} errors, as {' '.join(next(iter(results['errors'].items())))}"[:200]
        if left := [what for what in results["skipped"] if "/" in what]:
            note += f"; no time for {len(left)}, from {left[0]}"
        return note, results
    return read


def of_finetune(output: str) -> Found:
    """The two lines of --measure: calls, evaluations, calls, then seconds."""
    columns = ("evaluations", "calls", "rollout", "training", "reward", "update")
    lines = re.findall(r"^(wavefront|branch after branch) +((?:[\d.]+ *){6})$", output, re.M)
    numbers = {name: dict(zip(columns, map(float, rest.split()))) for name, rest in lines}
    if len(numbers) != 2:
        return last_line(output), {}
    ours, theirs = numbers["wavefront"]["update"], numbers["branch after branch"]["update"]
    return f"{ours:.4f} s an update, {theirs:.4f} s branch after branch", {"seconds": numbers}


# The steps.

def steps(output: Path, scratch: Path, torch_python: str) -> list[Step]:
    """Of a run on a GPU. Their limits leave half a minute of nine."""
    program = KIT / "bin/test_cuda"
    tool = sanitizer()
    found, lacks = libraries(KIT / "bin/cuda_finetune", torch_python)

    def sanitize(name: str, limit: int) -> Step:
        return Step(name, limit, lambda _: [tool, "--tool", name, "--report-api-errors", "no", "--print-limit", "20",
                                            "--error-exitcode", "1", str(program), "-w", "NoTests", SANITIZED],
                    missing="" if tool else "no compute-sanitizer; it comes with the CUDA toolkit", read=of_sanitizer)

    return [
        Step("tests", 90, lambda limit: [sys.executable, "-u", str(HERE / "cases.py"), "--seconds", f"{0.9 * limit}",
                                         str(program)]),
        Step("benchmarks", 225, lambda limit: [sys.executable, "-u", str(KIT / "benchmarks/cuda/run.py"), "--kit",
                                               "--seconds", f"{0.9 * limit}", "--torch-python", torch_python,
                                               "--program", str(KIT / "bin/tempflow_bench_cuda"),
                                               "--output", str(output / "benchmarks")],
             read=of_benchmarks(output / "benchmarks")),
        Step("finetune", 40, lambda _: [str(KIT / "bin/cuda_finetune"), "--measure", "15", "--data", str(KIT / "data"),
                                        "--cache", str(KIT / "cache"), "--output", str(scratch)],
             environment=found, missing=lacks, never=TRAINED, read=of_finetune),
        sanitize("racecheck", 45),
        sanitize("memcheck", 40),
        sanitize("initcheck", 35),
        sanitize("synccheck", 30),
    ]


def rehearsal(scratch: Path, torch_python: str) -> list[Step]:
    """What of a run needs no GPU."""
    def rehearse(name: str, limit: int, *command: str, never: str = "") -> Step:
        return Step(name, limit, lambda _: list(command), never=never)

    return [
        rehearse("benchmark list", 20, "sh", "-c", 'bin/tempflow_bench_cuda --list | grep -c "/96x262144/cold"'),
        rehearse("sanitized tests", 20, "sh", "-c", 'bin/test_cuda --list-test-names-only "$1" | grep -c .', "sh", SANITIZED),
        rehearse("benchmark answers", 60, str(KIT / "bin/test_cuda_benchmarks")),
        rehearse("benchmark scripts", 60, sys.executable, str(KIT / "benchmarks/cuda/self_test.py")),
        rehearse("PyTorch's formulas", 60, torch_python, str(KIT / "benchmarks/cuda/torch_peers.py"), "--check"),
        rehearse("data and networks", 120, str(KIT / "bin/fashion_mnist"), "--updates", "1", "--seeds", "1",
                 "--evaluation-samples", "12", "--data", str(KIT / "data"), "--cache", str(KIT / "cache"),
                 "--output", str(scratch), never=TRAINED),
    ]
