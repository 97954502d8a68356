#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Writes what the GPU kit measured into docs/performance.md, between its two markers.

  benchmarks/gpu_kit/merge_results.py gpu-kit/results/results.json
  benchmarks/gpu_kit/merge_results.py h100.json h200.json     a column for each GPU
  benchmarks/gpu_kit/merge_results.py                         nothing was measured

What stood there before is replaced, so name all the files that are to be told of. What a file has no number for stays
"not measured".
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks/cuda")]

import tables  # noqa: E402
from report import number, table  # noqa: E402

BEGIN = "<!-- what the GPU kit measured, written by benchmarks/gpu_kit/merge_results.py -->\n"
END = "<!-- end of what the GPU kit measured -->\n"
NOT_MEASURED = "not measured"
AGAINST = {"copy": "share of a copy's bandwidth, inputs larger than L2", "torch_eager": "over PyTorch eager with autograd",
           "torch_compile": "over torch.compile", "10 us": f"microseconds in a CUDA graph, {tables.LAUNCHES}"}


def came_to(target: dict[str, str], results: dict) -> str:
    """A target's values over storages and sizes, and which miss it."""
    measured = results.get("benchmarks")
    found = tables.reached(target, measured, tables.medians(measured)) if measured else {}
    middles = {group: statistics.median(rounds) for group, rounds in found.items()}
    if not middles:
        return NOT_MEASURED
    shown = sorted(10 / value if target["against"] == "10 us" else value for value in middles.values())
    ends = [number(value) for value in (shown[0], shown[-1])]
    missed = [f"{group.storage} {group.size}" for group, value in middles.items() if value < float(target["at least"])]
    return " to ".join(dict.fromkeys(ends)) + (f"; **missed** by {', '.join(missed)}" if missed else "")


def goal(target: dict[str, str]) -> str:
    if target["against"] == "10 us":
        return "at most 10"
    return target["at least"] + (f" (aim {target['aim']})" if target["aim"] != target["at least"] else "")


def an_update(results: dict) -> str:
    for step in results["steps"]:
        if seconds := step["numbers"].get("seconds"):
            return f"{seconds['wavefront']['update']:.4f}, {seconds['branch after branch']['update']:.4f}"
    return NOT_MEASURED


def gpu(results: dict) -> str:
    return results["context"].get("GPU", "no GPU")


def conditions(results: dict) -> str:
    about = results["context"] | results.get("benchmarks", {}).get("context", {})
    torch = f", PyTorch {about['torch']}" if "torch" in about else ""
    steps = "; ".join(f"{step['name']} {step['status']}" + (f" ({step['why']})" if step["status"] != "passed" else "")
                      for step in results["steps"])
    return (f"- **{gpu(results)}**: driver {about.get('driver', 'unknown')}, CUDA {about.get('CUDA runtime', 'unknown')}"
            f"{torch}; {results['context']['date'][:10]}, commit {results['context']['commit']}. {steps}.\n")


def text(files: list[dict]) -> str:
    """What stands between the markers."""
    said = ["**Not measured**: no GPU was at hand. None of these targets has been shown to hold:\n"]
    if files:
        said = ["Measured by the GPU kit; from the lowest to the highest of fp32 and bf16 and of the sizes:\n",
                "".join(map(conditions, files))]
    columns = [gpu(results) for results in files] or ["measured"]
    rows = [[f"`{target['kernel']}`, {AGAINST[target['against']]}", goal(target),
             *([came_to(target, results) for results in files] or [NOT_MEASURED])] for target in tables.targets()]
    rows.append(["seconds of an update, wavefront and branch after branch (`cuda_finetune --measure`)", "",
                 *([an_update(results) for results in files] or [NOT_MEASURED])])
    said.append(table(["", "target", *columns], rows))
    for results in files:
        if measured := results.get("benchmarks"):
            said.append(f"{gpu(results)}: {tables.SIDE_BY_SIDE}\n\n" +
                        tables.side_by_side(measured, tables.medians(measured)))
    return "\n".join(said)


def merged(page: str, files: list[dict]) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the markers are missing; they are\n{BEGIN}{END}")
    return f"{before}{begin}\n{text(files)}\n{end}{after}"


def main() -> int:
    head, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=head, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="results.json of runs of the kit")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/performance.md", metavar="FILE",
                        help="(docs/performance.md)")
    chosen = parser.parse_args()
    try:
        files = [json.loads(path.read_text()) for path in chosen.results]
        dry = [str(path) for path, results in zip(chosen.results, files) if results["context"]["dry run"]]
        if dry:
            raise ValueError(f"{', '.join(dry)}: of a dry run, which measures nothing")
        chosen.page.write_text(merged(chosen.page.read_text(), files))
    except (OSError, ValueError, KeyError) as problem:
        print(f"merge_results.py: {problem}", file=sys.stderr)
        return 1
    print(f"{chosen.page}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
