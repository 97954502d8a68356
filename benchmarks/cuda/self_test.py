#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""run.py from end to end with programs that make their times up, which needs no GPU."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Answers as tempflow_bench_cuda and torch_peers.py do.
FAKE = """#!{python}
import json, os, sys
TIMES = json.loads(os.environ["TIMES"])["{who}"]
if "--list" in sys.argv:
    print(*TIMES, sep="\\n")
    sys.exit()
if not TIMES:
    print("skipped: no CUDA device (made up)")
    sys.exit(77)
print(json.dumps({{"context": {{"L2 bytes": 1000, "GPU": "made up"}}}}), flush=True)
for line in sys.stdin:
    name = line.strip()
    if TIMES[name] == "dies":
        sys.exit(3)
    reply = {{"name": name, "bytes": 302000000 if "96x" in name else 999}}
    if isinstance(TIMES[name], str):
        reply["error"] = TIMES[name]
    else:
        reply["us"] = [TIMES[name], TIMES[name] * 1.01, 1000 * TIMES[name]]
        if "copy" not in name:
            reply |= {{"memory": 3 << 20, "error64": 1.25e-7}}
    print(json.dumps(reply), flush=True)
"""

OURS = {
    "policy_loss/tempflow/f32/96x262144/cold": 100, "policy_loss/copy_kernel/f32/96x262144/cold": 95,
    "policy_loss/copy_memcpy/f32/96x262144/cold": 90, "policy_loss/tempflow/f32/4x65536/cold": 5,
    "policy_loss/copy_kernel/f32/4x65536/cold": 1, "policy_loss/tempflow/f32/4x65536/graph": 4,
    "step/tempflow/bf16/96x262144/cold": 100, "step/copy_kernel/bf16/96x262144/cold": 70,
    "log_prob/tempflow/f16/4x65536/cold": "wrong answer: out[3] is nan",
}
TORCH = {
    "policy_loss/torch_eager/f32/96x262144/cold": 1500, "policy_loss/torch_compile/f32/96x262144/cold": 140,
    "policy_loss/torch_compile/f32/4x65536/cold": "no compiler", "ema/torch_eager/f32/24x65536/hot": 7,
}


def run(ours: dict, torch: dict, *options: str) -> tuple[int, str, dict, str]:
    """Status, what it printed, results.json and summary.md."""
    with tempfile.TemporaryDirectory() as folder:
        for who in ("ours", "torch"):
            fake = Path(folder, who)
            fake.write_text(FAKE.format(python=sys.executable, who=who))
            fake.chmod(0o755)
        ended = subprocess.run([sys.executable, HERE / "run.py", "--program", f"{folder}/ours", "--torch-python",
                                f"{folder}/torch", "--output", f"{folder}/out", *options], capture_output=True,
                               text=True, env=os.environ | {"TIMES": json.dumps({"ours": ours, "torch": torch})})
        out = Path(folder, "out")
        written = out.exists()
        return (ended.returncode, ended.stdout + ended.stderr,
                json.loads((out / "results.json").read_text()) if written else {},
                (out / "summary.md").read_text() if written else "")


def expect(text: str, *lines: str) -> None:
    for line in lines:
        assert line in text, f"not there: {line}\n{text}"


def main() -> None:
    status, printed, results, summary = run(OURS, TORCH)
    assert status == 1, printed  # an answer was wrong
    assert results["us"]["policy_loss/tempflow/f32/96x262144/cold"] == [[100, 101, 100000]] * 3, results
    assert list(results["errors"]) == [name for name in results["errors"] if isinstance((OURS | TORCH)[name], str)]
    assert len(results["errors"]) == 2, results
    expect(printed, "log_prob/tempflow/f16/4x65536/cold: wrong answer", "min left")
    expect(summary,
           "| f32 | 96x262144 | cold | 101 | 2990 | 90% | ×15.0 | ×1.4 |",
           "| policy_loss | f32 | 96x262144 | 0.0909 | 0.101 / 1.51 / 0.141 | 90% / 6% / 64% | 3 / 3 / 3 | "
           "1.2e-07 / 1.2e-07 / 1.2e-07 |", "| 0.00505 / – / – |",
           "| policy_loss | f32 | 96x262144 | cold | copy | 0.85 | 0.92 | 0.9 | 0.9 to 0.9 | met |",
           "| policy_loss | f32 | 96x262144 | cold | torch_eager | 10 | 20 | 15.0 | 15.0 to 15.0 | met |",
           "| cold | torch_compile | 1.5 | 1.5 | 1.4 | 1.4 to 1.4 | **missed** |",
           "| step | bf16 | 96x262144 | cold | copy | 0.75 | 0.75 | 0.7 | 0.7 to 0.7 | **missed** |",
           "| policy_loss | f32 | 4x65536 | graph | 10 us | 1 | 1 | 2.48 | 2.48 to 2.48 | aim met |",
           "wrong answer: out[3] is nan", "- commit:", "- before:", "- command:")
    assert "4x65536 | cold | copy" not in summary  # it fits L2

    status, printed, results, summary = run(OURS, {}, "--kernel", "step", "--rounds", "2")
    assert status == 0 and len(results["us"]["step/tempflow/bf16/96x262144/cold"]) == 2, printed
    expect(summary, "- torch: not measured: no CUDA device (made up)", "| 70% |  |  |")

    status, printed, results, summary = run(OURS, {}, "--no-torch", "--quick", "--filter", "graph")
    assert status == 0 and list(results["us"]) == ["policy_loss/tempflow/f32/4x65536/graph"], printed
    expect(summary, "--no-torch")

    # A program that ends takes nothing else with it: it is started again.
    status, printed, results, summary = run(OURS, TORCH | {"policy_loss/torch_eager/f32/96x262144/cold": "dies"},
                                            "--kernel", "policy_loss")
    assert status == 1 and "ended with 3" in printed and "| 90% |  | ×1.4 |" in summary, printed + summary

    # The most telling first; what there was no time for is named.
    status, printed, results, summary = run(OURS, TORCH, "--kit")
    data = list(dict.fromkeys(tuple(name.split("/")[i] for i in (0, 2, 3)) for name in results["us"]))
    assert data == [("policy_loss", "f32", "96x262144"), ("step", "bf16", "96x262144"), ("policy_loss", "f32", "4x65536")], data
    status, printed, results, summary = run(OURS, TORCH, "--kit", "--seconds", "1e-9")
    assert not results["us"] and results["skipped"]["policy_loss/f32/96x262144"] == "the 1e-09 s were over", results

    status, printed, results, summary = run({}, {})
    assert status == 77 and printed == "skipped: no CUDA device (made up)\n" and not results, printed
    print("run.py does what it should")


if __name__ == "__main__":
    main()
