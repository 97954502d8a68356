# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Kernels, and what launches them, are local to the program or shared library that they were linked into.

Else the first library of a program that has a launcher would launch its own kernels for all others, although those were
made for other GPUs.
"""

import re
import subprocess
import sys

# What leads to a launcher: exported, it would run the launchers of the library that has it.
LEADS_THERE = re.compile(r"tempflow::(?:detail::)?(?:run|execute|step|ode_step|copy_rows|gather_rows)<.*cuda_device"
                         r"|device_(?:call|backend)<tempflow::cuda_device>::(?:launch|for_each_index)")

LAUNCHERS = ["run_kernel<", "cuda_device::launch<", "cuda_device::largest_cluster<", "limits_of(", "largest_cluster_of(",
             "sort_scratch_bytes<", "sort_pairs<"]  # fmt: skip


def visible(symbols):
    """What of nm's lines is a launcher that other libraries would see; and launchers without any line."""
    lines = [match.groups() for match in re.finditer(r"^[0-9a-f]+ (\w) (.*)$", symbols, re.M)]
    found = {launcher: [line for line in lines if re.search(rf"tempflow::(\w+::)*{re.escape(launcher)}", line[1])]
             for launcher in LAUNCHERS}  # fmt: skip
    return [f"no {launcher}" for launcher, lines in found.items() if not lines] + [
        f"visible: {kind} {name}" for lines in found.values() for kind, name in lines if not kind.islower()
    ]


def exported(symbols):
    """What of nm's lines leads to a launcher, and a library without any line."""
    lines = re.findall(r"^[0-9a-f]+ [TW] (.*)$", symbols, re.M)
    return [f"exported: {name}" for name in lines if LEADS_THERE.search(name)] + (
        [] if any(name.startswith("advance(") for name in lines) else ["the library exports no function of its own"])


def self_test():
    own = "0a T advance(CUstream_st*)\n"
    assert not exported(own)
    assert len(exported(own + "0a W void tempflow::ode_step<tempflow::device_backend<tempflow::cuda_device> >(int)\n")) == 1
    assert exported("")
    names = ["tempflow::detail::run_kernel<int>", "void tempflow::cuda_device::launch<int>()", "tempflow::cuda_device::largest_cluster<int>()",
             "tempflow::detail::limits_of(int)", "tempflow::detail::largest_cluster_of(int)", "tempflow::sort_scratch_bytes<int>", "tempflow::sort_pairs<int>"]  # fmt: skip
    assert not visible("".join(f"0a t {name}\n" for name in names))
    assert len(visible("".join(f"0a W {name}\n" for name in names))) == len(names) == len(visible(""))


self_test()
listing = subprocess.run(["nm", "--demangle", sys.argv[1]], capture_output=True, text=True, check=True).stdout
shared = subprocess.run(["nm", "--demangle", "--dynamic", "--defined-only", sys.argv[2]], capture_output=True, text=True, check=True).stdout
problems = visible(listing) + exported(shared)
print(*problems[:20], f"hidden: {len(problems)} problems", sep="\n")
sys.exit(bool(problems))
