#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The kit's scripts on programs that pretend, which needs no GPU: steps that pass, fail, hang and are skipped, and what
the tables and the documentation say of them. All numbers are made up, and stay in a temporary folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPTS = ["report.py", "progress.py", "cuda/run.py", "cuda/tables.py", "cuda/torch_peers.py", "cuda/targets.csv",
           "gpu_kit/kit.py", "gpu_kit/steps.py", "gpu_kit/cases.py"]

PROGRAMS = {
    "test_cuda": """
        cases = {"adds - float": 0} | ({} if os.environ.get("GOOD") else {"breaks, a little": 42, "hangs": None})
        if "--list-test-names-only" in sys.argv:
            print(*cases, sep="\\n")
            sys.exit(len(cases))
        if no_device: skip()
        status = cases[sys.argv[1].replace("\\\\", "")]
        print("running", sys.argv[1], flush=True)
        time.sleep(60 if status is None else 0)
        sys.exit(status)""",
    "compute-sanitizer": """
        tool = sys.argv[sys.argv.index("--tool") + 1]
        if tool == "racecheck":
            print("RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)")
            sys.exit(1)
        if tool == "memcheck":
            print("looking", flush=True)
            time.sleep(60)
        if tool == "initcheck":
            print("Error: Device not supported. Please refer to the documentation")
            sys.exit(1)
        print("ERROR SUMMARY: 0 errors")""",
    "cuda_finetune": """
        if "--help" in sys.argv: sys.exit()
        if no_device:
            print("cuda_finetune: no CUDA device: made up. This program needs a GPU")
            sys.exit(1)
        print("seconds of an update, medians of 15 each in random order:")
        print("model calls           evaluations  calls    rollout  training    reward    update")
        print("wavefront                   38720     19    0.01000   0.00500   0.03000   0.04500")
        print("branch after branch         38720     64    0.03000   0.00500   0.03000   0.06500")
        print("The wavefront's rollout is 3.00 times as fast")""",
    "tempflow_bench_cuda": """
        times = {"policy_loss/tempflow/f32/96x262144/cold": 100, "policy_loss/copy_kernel/f32/96x262144/cold": 90,
                 "policy_loss/tempflow/bf16/96x262144/cold": 60, "policy_loss/copy_kernel/bf16/96x262144/cold": 45,
                 "policy_loss/tempflow/f32/4x65536/graph": 4}
        if "--list" in sys.argv:
            print(*times, sep="\\n")
            sys.exit()
        if no_device: skip()
        print(json.dumps({"context": {"GPU": "Made-up GPU", "L2 bytes": 1000, "CUDA runtime": "13.0"}}), flush=True)
        for line in sys.stdin:
            name = line.strip()
            reply = {"name": name, "bytes": 302000000 if "96x" in name else 999, "us": [times[name]]}
            if "tempflow" in name: reply |= {"memory": 1 << 20, "error64": 1e-7}
            print(json.dumps(reply), flush=True)""",
    "test_cuda_benchmarks": 'print("0 failures")',
    "fashion_mnist": 'print("reward: test accuracy 0.9, 3 s")',
    "nvidia-smi": 'print("580.00, 81559 MiB, 1980 MHz, 2619 MHz")',
    "no-torch": 'print("skipped: no torch (made up)"); sys.exit(77)',
}


def indented(text: str) -> str:
    lines = text.strip("\n").splitlines()
    margin = min(len(line) - len(line.lstrip()) for line in lines)
    return "\n".join(line[margin:] for line in lines)


class Kit:
    """A kit of programs that pretend."""

    def __init__(self, folder: str) -> None:
        self.folder, self.output = Path(folder), Path(folder, "out")
        for script in SCRIPTS:
            to = self.folder / "benchmarks" / script
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "benchmarks" / script, to)
        shutil.copy(HERE / "run.sh", self.folder)
        (self.folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            program = self.folder / "bin" / name
            program.write_text(f"""#!{sys.executable} -SE
import json, os, sys, time
no_device = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
def skip():
    print("skipped: no CUDA device (made up)")
    sys.exit(77)
{indented(text)}
""")
            program.chmod(0o755)
        (self.folder / "built.json").write_text('{"commit": "abc1234"}')

    def run(self, *options: str, **environment: str) -> tuple[int, str, dict, dict[str, dict]]:
        """Status, what it printed, results.json, and its steps by name."""
        shutil.rmtree(self.output, ignore_errors=True)
        search = f"{self.folder}/bin:{os.environ['PATH']}"
        ended = subprocess.run([self.folder / "run.sh", "--torch-python", f"{self.folder}/bin/no-torch", *options],
                               capture_output=True, text=True, env=os.environ | environment |
                               {"PATH": search, "OUT": str(self.output), "PYTHON": sys.executable})
        written = self.output / "results.json"
        results = json.loads(written.read_text()) if written.exists() else {"steps": []}
        return ended.returncode, ended.stdout + ended.stderr, results, {step["name"]: step for step in results["steps"]}


def expect(holds: object, *evidence: object) -> None:
    if not holds:
        print(*evidence, sep="\n")
        raise AssertionError


def statuses(steps: dict[str, dict]) -> dict[str, str]:
    return {name: step["status"] for name, step in steps.items()}


def all_goes_on(kit: Kit) -> None:
    """Failing and hanging steps cost no other one, and all are told of."""
    status, printed, results, steps = kit.run("--limit", "tests=15", "--limit", "memcheck=1")
    expect(status == 1, printed)
    expect(statuses(steps) == {"tests": "failed", "benchmarks": "passed", "finetune": "passed", "racecheck": "failed",
                               "memcheck": "timed out", "initcheck": "skipped", "synccheck": "passed"}, printed)
    expect(steps["tests"]["why"] == "3 cases: 1 failed, 1 passed, 1 timed out", steps["tests"])
    expect(steps["racecheck"]["why"] == "2 hazards displayed (2 errors, 0 warnings)", steps["racecheck"])
    expect(steps["memcheck"]["why"] == "after 1 s; last: looking" and steps["memcheck"]["seconds"] < 8, steps["memcheck"])
    expect("Device not supported" in steps["initcheck"]["why"] and steps["synccheck"]["numbers"] == {"errors": 0}, steps)
    expect(steps["finetune"]["numbers"]["seconds"]["branch after branch"]["update"] == 0.065, steps["finetune"])
    expect(results["benchmarks"]["us"]["policy_loss/tempflow/f32/96x262144/cold"][0] == [100], results)
    about = results["context"]
    expect((about["GPU"], about["driver"], about["commit"]) == ("Made-up GPU", "580.00", "abc1234"), about)
    expect("3 passed, 2 failed, 1 timed out, 1 skipped" in printed, printed)
    expect(re.search(r"\[2/7, \d:\d\d left\] benchmarks", printed), printed)
    summary, log = (kit.output / "summary.md").read_text(), (kit.output / "log.txt").read_text()
    expect("| memcheck | **timed out** | 1 | after 1 s; last: looking |" in summary and "| 90% |" in summary, summary)
    expect("failed: breaks, a little" in log and "timed out: hangs" in log and "passed: adds - float" in log, log)
    files = [path for path in kit.output.rglob("*") if path.is_file()]
    expect(len(files) <= 8, files)


def without_a_gpu(kit: Kit) -> None:
    """A dry run, which finds what would spoil a real one."""
    status, printed, results, steps = kit.run("--dry-run")
    expect(results["context"]["dry run"] and printed.startswith("dry run, nothing is measured"), printed)
    expect(status == 1 and steps["data and networks"]["why"] == "it printed 'test accuracy'", printed)
    expect(steps["PyTorch's formulas"]["why"] == "no torch (made up)", printed)
    for name in ("tests", "benchmarks", "finetune"):
        expect(steps[name]["status"] == "skipped" and "no CUDA device" in steps[name]["why"], steps[name])
    status, printed, results, steps = kit.run("--only", "tests", CUDA_VISIBLE_DEVICES="")
    expect(status == 77 and results["context"]["no device"] == "no CUDA device (made up)", printed)
    expect(steps["tests"]["why"] == "no CUDA device (made up)", printed)


def choices(kit: Kit) -> None:
    status, printed, _, steps = kit.run("--only", "tests", "--only", "synccheck", GOOD="1")
    expect(status == 0 and statuses(steps) == {"tests": "passed", "synccheck": "passed"}, printed)
    status, printed, _, steps = kit.run("--minutes", "0.05", "--only", "tests")
    expect(steps["tests"]["status"] == "skipped" and "no time was left" in steps["tests"]["why"], printed)
    status, printed, _, _ = kit.run("--only", "test")
    expect(status == 1 and "no step 'test'; they are tests, benchmarks" in printed, printed)
    status, printed, _, _ = kit.run("--list")
    expect(status == 0 and re.search(r"memcheck +40 s", printed), printed)
    limits = [int(seconds) for seconds in re.findall(r"(\d+) s  ", printed)][:7]
    expect(sum(limits) <= 9 * 60 - 30, limits)


def merging(kit: Kit) -> None:
    """Into a copy of the page."""
    page = kit.folder / "performance.md"
    shutil.copy(ROOT / "docs/performance.md", page)
    merge = [sys.executable, str(HERE / "merge_results.py"), "--page", str(page)]
    subprocess.run(merge, check=True, capture_output=True)
    empty = page.read_text()
    expect(empty.count("not measured |") == 13 and "**Not measured**" in empty, empty[-9000:])
    kit.run("--only", "benchmarks", "--only", "finetune", "--only", "racecheck")
    results = kit.output / "results.json"
    for _ in range(2):  # the second changes nothing
        subprocess.run([*merge, str(results)], check=True, capture_output=True)
        text = page.read_text()
        for line in ("- **Made-up GPU**: driver 580.00, CUDA 13.0; ", "commit abc1234. benchmarks passed; ", "racecheck failed (2 haz",
                     "| `policy_loss`, share of a copy's bandwidth, inputs larger than L2 | 0.85 (aim 0.92) | "
                     "0.75 to 0.9; **missed** by bf16 96x262144 |",
                     "| `policy_loss`, microseconds in a CUDA graph, 4x65536 | at most 10 | 4 |",
                     "| `step`, microseconds in a CUDA graph, 4x65536 | at most 10 | not measured |", "| 0.0450, 0.0650 |",
                     "| policy_loss | f32 | 96x262144 | 0.09 | 0.1 / – / – | 90% / – / – | 1 / – / – | 1.0e-07 / – / – |"):
            expect(line in text, line, text[-9000:])
        expect(text.count("Made-up GPU") == 3, text[-9000:])
    subprocess.run([*merge, str(results), str(results)], check=True, capture_output=True)
    expect("| Made-up GPU | Made-up GPU |" in page.read_text())
    subprocess.run(merge, check=True, capture_output=True)
    expect(page.read_text() == empty)
    kit.run("--dry-run", "--only", "tests")
    refused = subprocess.run([*merge, str(results)], capture_output=True, text=True)
    expect(refused.returncode == 1 and "of a dry run" in refused.stderr and page.read_text() == empty, refused)


def main() -> None:
    for test in (all_goes_on, without_a_gpu, choices, merging):
        with tempfile.TemporaryDirectory() as folder:
            test(Kit(folder))
    print("the kit does what it should")


if __name__ == "__main__":
    main()
