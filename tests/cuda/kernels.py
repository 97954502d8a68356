# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What the CUDA compiler makes of every kernel: registers, spills, and accesses of 16 bytes, on each architecture.

Fails when a kernel spills registers, or reads or writes its batches in smaller pieces than 16 bytes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = ["75", "80", "90"]
ELEMENTS_OF_A_LANE = 32  # of a tile; times their size, over 16: accesses to one batch
# Batches that a kernel reads and writes, at the least.
BATCHES = {
    "log_prob_kernel": (3, 0),
    "step_kernel": (2, 1),
    "ode_step_kernel": (2, 1),
    "branch_step_kernel": (4, 2),  # once for the trunk, once for the explorations
    "fill_noise_kernel": (0, 1),
    "policy_sums_kernel": (4, 0),
    "policy_gradient_kernel": (4, 1),
    "policy_row_kernel": (4, 1),
    "gather_kernel": (1, 1),
    "ema_kernel": (2, 1),
}
SIZES = {"float": 4, "bfloat16": 2, "float16": 2}


def compile_for(arch, options, folder):
    """Resources and PTX of all kernels: {name: {...}}."""
    kept = folder / arch
    kept.mkdir()
    done = subprocess.run(
        [options.nvcc, "-ccbin", options.host, "-std=c++20", "-O3", f"-arch=sm_{arch}", f"-I{options.include}",
         "-cubin", "-Xptxas=-v", "--keep", "--keep-dir", str(kept), "-o", str(kept / "kernels.cubin"),
         str(Path(__file__).with_name("kernels.cu"))],
        capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"kernels.py: nvcc for sm_{arch} failed:\n{done.stdout}{done.stderr}")
    ptx = next(kept.glob("*.ptx"))
    kernels = {}
    for name, stack, spills, registers in re.findall(
        r"Function properties for (\S+)\n\s*(\d+) bytes stack frame, (\d+) bytes spill.*\n.*?Used (\d+) registers",
        done.stderr,
    ):
        kernels[name] = {"stack": int(stack), "spills": int(spills), "registers": int(registers), "reads": 0, "writes": 0}
    for name, body in re.findall(r"\.entry (\w+)\((.*?)\n}", ptx.read_text(), re.S):
        kernels[name]["reads"] = len(re.findall(r"ld\.global\.v4\.[bfu]32|ld\.global\.v2\.[bfu]64", body))
        kernels[name]["writes"] = len(re.findall(r"st\.global\.v4\.[bfu]32|st\.global\.v2\.[bfu]64", body))
    return kernels


def readable(name):
    """("policy_row_kernel", "float") of a mangled name; no storage type for kernels without one."""
    kernel, rest = re.search(r"\d([a-z_]+(?<!run)_kernel)(.*)", name).groups()
    storage = re.match(r"I(?:NS_\d+)?(bfloat16|float16|f)", rest)
    return kernel, "" if not storage else "float" if storage[1] == "f" else storage[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--host", default="g++", help="the host compiler")
    parser.add_argument("--include", default=str(Path(__file__).resolve().parents[2] / "include"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        found = dict(zip(ARCHITECTURES, pool.map(lambda arch: compile_for(arch, options, Path(folder)), ARCHITECTURES)))
    failures = []
    print(f"{'kernel':42}" + "".join(f"  sm_{arch} reg spill 16B r/w " for arch in ARCHITECTURES))
    for name in sorted(found[ARCHITECTURES[0]], key=readable):
        kernel, storage = readable(name)
        line = f"{kernel + ('<' + storage + '>' if storage else ''):42}"
        for arch in ARCHITECTURES:
            k = found[arch][name]
            line += f"      {k['registers']:3} {k['spills']:5} {k['reads']:5}/{k['writes']:<8}"
            if k["spills"] > 0 or k["stack"] > 0:
                failures.append(f"sm_{arch} {kernel}<{storage}>: {k['spills']} bytes spilled, stack of {k['stack']}")
            accesses = ELEMENTS_OF_A_LANE * SIZES.get(storage, 0) // 16
            reads, writes = (accesses * batches for batches in BATCHES.get(kernel, (0, 0)))
            if k["reads"] < reads or k["writes"] < writes:
                failures.append(f"sm_{arch} {kernel}<{storage}>: {k['reads']} reads and {k['writes']} writes of 16 bytes, "
                                f"not {reads} and {writes}")
        print(line)
    if {readable(name) for name in found["90"]} < {(kernel, storage) for kernel in BATCHES for storage in SIZES}:
        failures.append("kernels are missing")
    print(*failures, f"{len(found['90'])} kernels, {len(failures)} failures", sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
