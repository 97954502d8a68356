#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Measures tempflow's CUDA kernels against a copy and against PyTorch, and writes results.json and summary.md.

The program and PyTorch run side by side and are asked in turns, in random order and several rounds, so that a GPU that
grows warm or slow is so for both. Each ratio is the median of the rounds' ratios. Answers are checked before they are
timed; a wrong one is an error. Without torch its columns stay empty, and the summary says why. Without a CUDA device
nothing is measured and the exit status is 77.

Names are kernel/who/storage/BxD/state; --filter is a regular expression on them:

  benchmarks/cuda/run.py --quick                          does all run? one small size, one round
  benchmarks/cuda/run.py --kit --seconds 240              what tells most in four minutes, the most telling first
  benchmarks/cuda/run.py --kernel policy_loss --filter '/f32/96x'
  benchmarks/cuda/run.py --no-torch --filter /cold        tempflow and the copy alone: some minutes
  benchmarks/cuda/run.py --torch-python ~/venv/bin/python
"""

import argparse
import datetime
import json
import random
import re
import select
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import report  # noqa: E402
import tables  # noqa: E402
from progress import Progress  # noqa: E402

START = time.monotonic()
SKIPPED = 77
QUICK = re.compile("/4x65536/|/1x1152/")
# --kit, the most telling first. The first size is larger than any L2 cache; the last costs little but its launch.
KIT_SIZES = {"96x262144": ["cold"], "24x65536": ["cold"], "4x65536": ["cold", "stream", "graph"]}
KIT_KERNELS = ["policy_loss", "policy_loss_kl", "step", "log_prob"]
KIT_STORAGES = ["f32", "bf16"]
PATIENCE = 60  # seconds for an answer; torch.compile may take some ten
RESTARTS = 5  # of a program that died or lost its device
CLOCKS = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw"


def arguments() -> argparse.Namespace:
    head, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=head, epilog=more,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small size, one round")
    parser.add_argument("--kit", action="store_true",
                        help="three sizes, fp32 and bf16, the loss, step and log_prob: some four minutes")
    parser.add_argument("--seconds", type=float, metavar="S", help="begin nothing new after so long")
    parser.add_argument("--kernel", action="append", metavar="NAME",
                        help="only this kernel (may be given again): log_prob, policy_loss, policy_loss_kl, step, "
                             "branch_step, ema, group_advantages")
    parser.add_argument("--filter", default="", metavar="REGEX", help="only measurements whose name it is found in")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns that each is asked in (3; 1 with --quick)")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="of a round (3)")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="the Python that has torch")
    parser.add_argument("--program", type=Path, metavar="PATH", help="tempflow_bench_cuda (built in build/release)")
    parser.add_argument("--output", type=Path, default=ROOT / "build/bench-cuda", metavar="FOLDER",
                        help="(build/bench-cuda)")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    return chosen


def build() -> Path:
    """The program of build/release, made if it is not there or not new."""
    tree = ROOT / "build/release"
    if not (tree / "CMakeCache.txt").exists():
        sys.exit(f"run.py: {tree} is not configured; ./dev bench-cuda does it, or name a --program")
    subprocess.run(["cmake", "--build", tree, "--target", "tempflow_bench_cuda"], check=True)
    return tree / "benchmarks/cuda/tempflow_bench_cuda"


class Skipped(Exception):
    pass


class Asked:
    """A program that answers names with lines of JSON. One that died, hangs or lost its device is started again."""

    def __init__(self, command: list[str], repetitions: int) -> None:
        listed = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
        self.names = listed.stdout.split()
        self.command = [*command, "--repetitions", str(repetitions)]
        self.restarts = RESTARTS
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not self.answers():
            self.kill()
            raise RuntimeError(f"{self.command[0]} did not start in {PATIENCE} s")
        first = self.process.stdout.readline()
        if not first.startswith("{"):
            if self.process.wait() == SKIPPED:
                raise Skipped(first.strip().removeprefix("skipped: "))
            raise RuntimeError(f"{self.command[0]} ended with {self.process.returncode}: {first.strip()}")
        self.context = json.loads(first)["context"]

    def ask(self, name: str) -> dict:
        try:
            if self.process.poll() is not None and self.restarts > 0:
                self.restarts -= 1
                self.start()
            self.process.stdin.write(name + "\n")
            self.process.stdin.flush()
            if not self.answers():
                self.kill()
                return {"name": name, "error": f"no answer in {PATIENCE} s"}
            reply = json.loads(self.process.stdout.readline())
        except (OSError, json.JSONDecodeError, RuntimeError, Skipped):
            return {"name": name, "error": f"the program ended with {self.process.wait()}"}
        if "CUDA error" in reply.get("error", "") or "cudaError" in reply.get("error", ""):
            self.kill()  # after such an error every call of a process fails
        return reply

    def answers(self) -> bool:
        return bool(select.select([self.process.stdout], [], [], PATIENCE)[0])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


def clocks() -> str:
    """As nvidia-smi sees them."""
    try:
        seen = subprocess.run(["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv"], capture_output=True, text=True,
                              check=True).stdout.splitlines()
        return ", ".join(f"{key.strip()} {value.strip()}" for key, value in zip(seen[0].split(","), seen[1].split(",")))
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown, no nvidia-smi"


def in_kit(group: tables.Group) -> bool:
    return (group.kernel in KIT_KERNELS and group.storage in KIT_STORAGES
            and group.state in KIT_SIZES.get(group.size, []))


def selection(programs: list[Asked], chosen: argparse.Namespace) -> dict[tuple[str, str, str], list[tuple[Asked, str]]]:
    """Who is asked for what, by the data that they share."""
    selected: dict[tuple[str, str, str], list[tuple[Asked, str]]] = {}
    for program in programs:
        for name in program.names:
            group, _ = tables.parse(name)
            if chosen.kernel and group.kernel not in chosen.kernel or chosen.quick and not QUICK.search(name):
                continue
            if chosen.kit and not in_kit(group):
                continue
            if re.search(chosen.filter, name):
                selected.setdefault(group.data, []).append((program, name))
    if chosen.kit:
        rank = lambda kernel, storage, size: ([*KIT_SIZES].index(size), KIT_KERNELS.index(kernel), storage)
        return dict(sorted(selected.items(), key=lambda item: rank(*item[0])))
    return selected


def add(results: dict, reply: dict) -> None:
    name = reply["name"]
    if "error" in reply:
        results["errors"][name] = reply["error"]
        results["us"].pop(name, None)
    elif name not in results["errors"]:
        results["us"].setdefault(name, []).append(reply["us"])
        if "bytes" in reply:
            results["bytes"][str(tables.parse(name)[0])] = reply["bytes"]
        for what in ("memory", "error64"):
            if what in reply:
                results[what][name.rpartition("/")[0]] = reply[what]


def measure(programs: list[Asked], chosen: argparse.Namespace, results: dict) -> None:
    selected = selection(programs, chosen)
    if not selected:
        sys.exit("run.py: no measurement is selected")
    progress = Progress(chosen.rounds * sum(map(len, selected.values())))
    order = random.Random(1)
    for data, asked in selected.items():
        if chosen.seconds and time.monotonic() - START > chosen.seconds:
            results["skipped"]["/".join(data)] = f"the {chosen.seconds:g} s were over"
            continue
        progress.show("/".join(data))
        for _ in range(chosen.rounds):
            for program, name in order.sample(asked, len(asked)):
                if name not in results["errors"]:
                    add(results, program.ask(name))
                progress.done += 1
        write(results, chosen.output)  # whatever becomes of the rest


def write(results: dict, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(results, indent=1))
    (output / "summary.md").write_text(tables.summary(results))


def main() -> int:
    chosen = arguments()
    results: dict = {"context": {}, "us": {}, "bytes": {}, "memory": {}, "error64": {}, "errors": {}, "skipped": {}}
    try:
        ours = Asked([str(chosen.program or build())], chosen.repetitions)
    except Skipped as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    except (OSError, subprocess.CalledProcessError, RuntimeError) as problem:
        sys.exit(f"run.py: {problem}")
    programs = [ours]
    if chosen.no_torch:
        results["skipped"]["torch"] = "--no-torch"
    else:
        try:
            programs.append(Asked([chosen.torch_python, str(HERE / "torch_peers.py")], chosen.repetitions))
        except (OSError, subprocess.CalledProcessError, RuntimeError, Skipped) as reason:
            results["skipped"]["torch"] = str(reason)
            print(f"without torch: {reason}")
    for program in programs:
        results["context"] |= program.context
    now = datetime.datetime.now().astimezone()
    results["context"] |= {"commit": report.commit(ROOT), "date": now.isoformat(timespec="seconds"),
                           "command": " ".join(sys.argv), "rounds": chosen.rounds,
                           "repetitions of a round": chosen.repetitions, "before": clocks()}
    try:
        measure(programs, chosen, results)
    except KeyboardInterrupt:
        print("\nstopped; what was measured is written")
    results["context"]["after"] = clocks()
    for program in programs:
        program.end()
    write(results, chosen.output)
    print(f"\n{chosen.output / 'summary.md'}, {chosen.output / 'results.json'}")
    for name, what in results["errors"].items():
        print(f"{name}: {what}", file=sys.stderr)
    return 1 if results["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
