# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Holds the CUDA kernels to a number of machine instructions: a guard of their speed that needs no GPU.

Counted is what a warp executes for one tile of 1,024 elements: the shortest walk through the kernel's control flow,
from its entry to an exit, that does the work of a whole tile. The work stands in ceilings.csv:
  reads, writes   batches that are read and written, by accesses of 16 bytes alone
  noise           tiles of normals that are drawn, known by their square roots
  sums            times that the 32 numbers of each lane pass through shared memory
  arrivals        counters that the warp arrives at
So tiles that end early, rows off the boundaries and the compiler's slow paths are not on the walk; a rolled loop is
walked as often as the work needs; and a kernel that reads in smaller pieces has no such walk at all. Conditions are
taken to hold wherever that is shorter. A warp that arrives last, or that concludes its row, has more to do than is
counted here. branch_step is counted with one exploration, and a state with one sibling.

Memory traffic, latencies and occupancy are not seen here: that takes ./dev bench-cuda. Ceilings are 5 % above what the
nvcc that heads their column makes of a kernel; later versions are held to them, too.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from kernels import TABLE, readable, resources, table

SKIPPED = 77  # CMakeLists.txt tells ctest
SLACK = 1.05
LANE_ELEMENTS = 32  # of a tile, per lane
SIZES = {"float": 4, "bfloat16": 2, "float16": 2}
ADVICE = f"""Look first at what changed in the kernel: instructions.py FOLDER --kernel K --storage S --walk lists what is
counted. If the change is right and worth its price, raise the ceiling in tests/cuda/{TABLE.name} (--update does it), in
the commit that makes the change, and say why there."""


class Instruction(NamedTuple):
    predicate: str
    opcode: str
    operands: str


class Kernel(NamedTuple):
    code: list  # of Instruction
    labels: dict  # where they lie in the code


class Work(NamedTuple):
    """What a walk has done so far, or has to do: bytes and normals per lane, and counters arrived at."""

    read: int = 0
    written: int = 0
    normals: int = 0
    stored: int = 0  # to shared memory
    loaded: int = 0
    arrivals: int = 0


def parse(listing):
    """{mangled name: Kernel} of nvdisasm's text."""
    kernels = {}
    for line in listing.splitlines():
        if begin := re.match(r"\.text\.(\S+):$", line):
            kernel = kernels[begin[1]] = Kernel([], {})
        elif not kernels:
            continue
        elif label := re.match(r"\s*(\S+):$", line):
            kernel.labels[label[1]] = len(kernel.code)
        elif code := re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@(\S+)\s+)?([A-Z]\S*)\s*(.*?)\s*;", line):
            kernel.code.append(Instruction(code[1] or "", code[2], code[3]))
    return kernels


def width(opcode):
    """Bytes that an access moves per lane."""
    sizes = {"256": 32, "128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}
    return next((sizes[part] for part in opcode.split(".") if part in sizes), 4)


def after(work, instruction, target):
    """The work done after an instruction; more than the target counts as the target."""
    predicate, opcode, _ = instruction
    if predicate == "!PT":  # never
        return work
    kind, size = opcode.partition(".")[0], width(opcode)
    done = work._asdict()
    if kind in ("LD", "LDG") and size >= 16:
        done["read"] += size
    elif kind in ("ST", "STG") and size >= 16:
        done["written"] += size
    elif opcode == "MUFU.RSQ":
        done["normals"] += 2
    elif kind == "STS":
        done["stored"] += size
    elif kind == "LDS":
        done["loaded"] += size
    elif kind in ("ATOM", "ATOMG", "RED", "REDG"):
        done["arrivals"] += 1
    return Work(*map(min, done.values(), target))


def successors(kernel, at, caller):
    """Where control may go from an instruction: (place, where the subroutine returns to)."""
    predicate, opcode, operands = kernel.code[at]
    kind = opcode.partition(".")[0]
    if kind in ("BRX", "BRXU", "JMP", "JMX", "JMXU"):
        sys.exit(f"instructions.py: cannot follow {opcode} {operands}")
    if kind in ("BRA", "CALL"):
        target = kernel.labels[re.search(r"\(([^()]*)\)$", operands)[1]]
        yield (target, at + 1) if kind == "CALL" else (target, caller)
        if not predicate and (kind == "CALL" or "," not in operands):  # the second operand is a condition
            return
    elif kind == "RET":
        yield caller, None
    if predicate or kind not in ("RET", "EXIT", "BPT", "KILL"):
        yield at + 1, caller


def shortest_walk(kernel, target):
    """The places of the instructions on the shortest walk that does the work, or None."""
    start = (0, None, Work())
    before, frontier = {start: None}, [start]
    while frontier:
        reached = []
        for state in frontier:
            at, caller, work = state
            work = after(work, kernel.code[at], target)
            if work == target and kernel.code[at].opcode == "EXIT":
                walk = []
                while state:
                    walk.append(state[0])
                    state = before[state]
                return walk[::-1]
            for place, returns in successors(kernel, at, caller):
                following = (place, returns, work)
                if place is not None and place < len(kernel.code) and following not in before:
                    before[following] = state
                    reached.append(following)
        frontier = reached
    return None


def work_of(row):
    """The work of a row of ceilings.csv."""
    of_lane = {name: LANE_ELEMENTS * int(row[name]) for name in ("reads", "writes", "noise", "sums")}
    size, sum_size = SIZES[row["storage"]], 4
    return Work(of_lane["reads"] * size, of_lane["writes"] * size, of_lane["noise"], of_lane["sums"] * sum_size,
                of_lane["sums"] * sum_size, int(row["arrivals"]))


def self_test():
    """A loop, a subroutine, a slow path and an early exit, as nvdisasm writes them."""
    kernel = parse("""
.text.name:
        /*0000*/              @P0  EXIT ;
.L_x_1:
        /*0010*/                   LDG.E.128 R4, desc[UR6][R2.64] ;
        /*0020*/              @!P1 BRA `(.L_x_2) ;
        /*0030*/                   FADD R4, R4, R4 ;
        /*0040*/                   FADD R4, R4, R4 ;
.L_x_2:
        /*0050*/                   CALL.REL.NOINC `($sub) ;
        /*0060*/              @P2  BRA `(.L_x_1) ;
        /*0070*/                   BRA.DIV UR4, `(.L_x_3) ;
        /*0080*/                   EXIT ;
.L_x_3:
        /*0090*/                   EXIT ;
$sub:
        /*00a0*/                   STS.64 [R2], R4 ;
        /*00b0*/                   RET.REL.NODEC R10 `(name) ;
""")["name"]
    iteration = ["LDG.E.128", "BRA", "CALL.REL.NOINC", "STS.64", "RET.REL.NODEC", "BRA"]
    for work, times in ((Work(read=16), 1), (Work(read=64), 4), (Work(read=16, stored=24), 3)):
        walk = [kernel.code[at].opcode for at in shortest_walk(kernel, work)]
        assert walk == ["EXIT", *times * iteration, "BRA.DIV", "EXIT"], (work, walk)
    assert shortest_walk(kernel, Work(written=16)) is None


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def find_nvdisasm(given, nvcc):
    """nvdisasm as given, in the environment, on the path, beside nvcc, or in its Python package."""
    names = [given, os.environ.get("TEMPFLOW_NVDISASM"), "nvdisasm", Path(nvcc).with_name("nvdisasm")]
    names += [program for folder in sys.path for program in Path(folder).glob("nvidia/*/bin/nvdisasm")]
    found = [path for name in names if name and (path := shutil.which(name))]
    return found[0] if found else skip("no nvdisasm: pip install nvidia-cuda-nvdisasm, or name it in TEMPFLOW_NVDISASM")


def version(text):
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", text).groups()))


def main():
    self_test()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what kernels.py left")
    parser.add_argument("--kernel", help="only this kernel")
    parser.add_argument("--storage", help="only this storage type")
    parser.add_argument("--architecture", default="90")
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--nvdisasm")
    parser.add_argument("--walk", action="store_true", help="list what is counted")
    parser.add_argument("--update", action="store_true", help="write new ceilings")
    given = parser.parse_args()
    folder = given.folder / f"sm_{given.architecture}"

    rows = table()
    chosen = {of: row for of, row in rows.items() if given.kernel in (None, of[0]) and given.storage in (None, of[1])}
    if not chosen:
        sys.exit(f"instructions.py: no such row in {TABLE}")
    column = list(next(iter(rows.values())))[-1]
    compiler = re.search(r"release (\d+\.\d+)", (folder / "kernels.ptx").read_text())[1]
    if version(compiler) < version(column):
        skip(f"compiled by nvcc {compiler}; the ceilings are for {column} and later")
    nvdisasm = find_nvdisasm(given.nvdisasm, given.nvcc)
    done = subprocess.run([nvdisasm, "-c", folder / "kernels.cubin"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{nvdisasm}: exit status {done.returncode}\n{done.stderr}")
    kernels, used = parse(done.stdout), resources(folder)

    print(f"sm_{given.architecture}, nvcc {compiler}: instructions of a warp per tile, and ceiling")
    print(f"{'kernel':50}{'storage':10}{'count':>7}{'ceiling':>9}{'per element':>13}{'registers':>11}{'ceiling':>9}"
          f"{'spills':>8}")
    failures = []
    for name in sorted(kernels, key=readable):
        row = chosen.get(readable(name))
        if not row:
            continue
        title = f"{row['kernel']}<{row['storage']}>"
        walk = shortest_walk(kernels[name], work_of(row))
        if walk is None:
            failures.append(f"{title}: no walk does a tile's work by accesses of 16 bytes; per lane: {work_of(row)}")
            continue
        count, registers, spills = len(walk), used[name]["registers"], used[name]["spills"]
        if given.update:
            row[column], row["registers"] = round(SLACK * count), -(-registers // 8) * 8  # as they are allocated
        print(f"{row['kernel']:50}{row['storage']:10}{count:7}{row[column]:>9}{count / LANE_ELEMENTS:13.1f}{registers:11}"
              f"{row['registers']:>9}{spills:8}", flush=True)
        if count > int(row[column]):
            failures.append(f"{title}: {count} instructions per tile, above the ceiling of {row[column]}")
        if registers > int(row["registers"]):
            failures.append(f"{title}: {registers} registers, above the ceiling of {row['registers']}")
        if given.walk:
            print(*(f"    {at:5} {'@' * bool(code.predicate) + code.predicate:5} {code.opcode} {code.operands}"
                    for at in walk for code in [kernels[name].code[at]]), sep="\n")
    if given.update:
        with open(TABLE, "w", newline="") as file:
            writer = csv.DictWriter(file, next(iter(rows.values())), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.values())
    if failures:
        print(*failures, ADVICE, sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
