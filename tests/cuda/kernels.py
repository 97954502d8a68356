# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What the CUDA compiler makes of every kernel: registers, spills, and accesses of 16 bytes, on each architecture.

Fails when a kernel spills registers, or has no access of 16 bytes for one of its batches. (Loops may be rolled, so this
sees one access per batch; instructions.py sees whether a tile is read and written by such accesses alone.) What the
compiler made stays in the folder, for instructions.py.
"""

import argparse
import csv
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = ["75", "80", "90"]
TABLE = Path(__file__).with_name("ceilings.csv")


def compile_for(arch, options):
    """Leaves kernels.cubin, its PTX and what ptxas says (ptxas.txt) in a folder of the architecture's."""
    kept = options.folder / f"sm_{arch}"
    kept.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [options.nvcc, "-ccbin", options.host, "-std=c++20", "-O3", f"-arch=sm_{arch}", f"-I{options.include}",
         "-cubin", "-Xptxas=-v", "--keep", "--keep-dir", str(kept), "-o", str(kept / "kernels.cubin"),
         str(Path(__file__).with_name("kernels.cu"))],
        capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"kernels.py: nvcc for sm_{arch} failed:\n{done.stdout}{done.stderr}")
    (kept / "ptxas.txt").write_text(done.stderr)


def resources(folder):
    """{mangled name: {"stack": bytes, "spills": bytes, "registers": count}} from an architecture's folder."""
    return {
        name: {"stack": int(stack), "spills": int(spills), "registers": int(registers)}
        for name, stack, spills, registers in re.findall(
            r"Function properties for (\S+)\n\s*(\d+) bytes stack frame, (\d+) bytes spill.*\n.*?Used (\d+) registers",
            (folder / "ptxas.txt").read_text(),
        )
    }


def wide_accesses(folder):
    """{mangled name: (reads, writes)}: accesses of 16 bytes to global memory in the kernels' PTX."""
    def count(body, instruction):
        return len(re.findall(instruction + r"\.global\S*\.(?:v4\.[bfu]32|v2\.[bfu]64)", body))

    return {
        name: (count(body, "ld"), count(body, "st"))
        for name, body in re.findall(r"\.entry (\w+)\((.*?)\n}", (folder / "kernels.ptx").read_text(), re.S)
    }


def readable(name):
    """("policy_row_kernel", "float") of a mangled name; no storage type for kernels without one."""
    kernel, rest = re.search(r"\d([a-z_]+(?<!run)_kernel)(.*)", name).groups()
    storage = re.match(r"I(?:NS_\d+)?(bfloat16|float16|f)", rest)
    kernel += " of siblings" * ("sibling_states" in rest)
    kernel += " masked" * ("masked_elements" in rest)
    if kernel.startswith("row_"):
        kernel += " with v_old" * ("Lb1E" in rest)  # HasOld of the general loss
    else:
        kernel += " without reference" * ("Lb0E" in rest)  # HasReference of the loss
    return kernel, "" if not storage else "float" if storage[1] == "f" else storage[1]


def table():
    """The rows of ceilings.csv by kernel and storage type."""
    with open(TABLE, newline="") as file:
        return {(row["kernel"], row["storage"]): row for row in csv.DictReader(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the compiler's output goes")
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--host", default="g++", help="the host compiler")
    parser.add_argument("--include", default=str(Path(__file__).resolve().parents[2] / "include"))
    options = parser.parse_args()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda arch: compile_for(arch, options), ARCHITECTURES))
    found = {arch: resources(options.folder / f"sm_{arch}") for arch in ARCHITECTURES}
    accesses = {arch: wide_accesses(options.folder / f"sm_{arch}") for arch in ARCHITECTURES}
    expected = table()
    failures = []
    print(f"{'kernel':60}" + "".join(f"  sm_{arch} reg spill 16B r/w " for arch in ARCHITECTURES))
    for name in sorted(found[ARCHITECTURES[0]], key=readable):
        kernel, storage = readable(name)
        line = f"{kernel + ('<' + storage + '>' if storage else ''):60}"
        for arch in ARCHITECTURES:
            k, (reads, writes) = found[arch][name], accesses[arch][name]
            line += f"      {k['registers']:3} {k['spills']:5} {reads:5}/{writes:<8}"
            if k["spills"] > 0 or k["stack"] > 0:
                failures.append(f"sm_{arch} {kernel}<{storage}>: {k['spills']} bytes spilled, stack of {k['stack']}")
            batches = expected.get((kernel, storage), {"reads": 0, "writes": 0})
            if reads < int(batches["reads"]) or writes < int(batches["writes"]):
                failures.append(f"sm_{arch} {kernel}<{storage}>: {reads} reads and {writes} writes of 16 bytes, "
                                f"for {batches['reads']} batches read and {batches['writes']} written")
        print(line)
    failures += [f"no {kernel}<{storage}>" for kernel, storage in expected.keys() - map(readable, found["90"])]
    print(*failures, f"{len(found['90'])} kernels, {len(failures)} failures", sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
