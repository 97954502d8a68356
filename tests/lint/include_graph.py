# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The headers' rules: includes point down the layers, headers are short, and begin alike. Prints what breaks a rule."""

import re
import sys
from pathlib import Path

LAYERS = [
    {"config.hpp", "version.hpp"},
    {"core"},
    {"config_summary.hpp"},
    {"schedule", "objective", "advantage"},
    {"backend"},
    {"ops"},
    {"rollout", "device"},
    {"training", "cuda"},
    {"tempflow.hpp", "compiled.hpp", "cuda.hpp", "cuda.cuh"},
    {"interop"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
MACRO_FOLDERS = LAYERS[0] | {"interop"}
MACRO_HEADERS = {  # made of compilers' builtins, of a device's instructions, of lists of instantiations
    "tempflow/core/x86_lanes.hpp",
    "tempflow/core/x86_registers.hpp",
    "tempflow/core/device_lanes.hpp",
    "tempflow/compiled.hpp",
}
CUDA_HEADERS = ("tempflow/cuda/",)  # include the CUDA runtime's
MAX_LINES = 300
HEAD = """// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

//"""


def part(path):
    """The folder in tempflow/: core of core/error.hpp, ops of ops/detail/checks.hpp."""
    return path.split("/")[1]


def problems(headers):
    """Problems of {path below include/: text}."""
    edges = set()
    for path, text in headers.items():
        here = part(path)
        may_branch = here in MACRO_FOLDERS or path in MACRO_HEADERS
        if here not in RANK:
            yield f"{path}: '{here}' is in no layer"
            continue
        if not text.startswith(HEAD):
            yield f"{path}: must begin with two SPDX lines, #pragma once and a comment on what it is"
        if text.count("\n") > MAX_LINES:
            yield f"{path}: {text.count(chr(10))} lines, at most {MAX_LINES}"
        for line in re.findall(r"^\s*#\s*(.*)", text, re.M):
            if re.match(r"(if|define|undef)", line) and path.endswith(".hpp") and not may_branch:
                yield f"{path}: '#{line}': preprocessor work belongs in config.hpp"
            if not (include := re.match(r'include\s*(["<])(.*)[">]', line)):
                continue
            quote, target = include.groups()
            if not target.startswith("tempflow/"):
                of_cuda = target.startswith("cuda_runtime") and path.startswith(CUDA_HEADERS)
                of_compiler = target == "cpuid.h" and path == "tempflow/config.hpp"
                if not of_cuda and not of_compiler and not re.fullmatch(r"[a-z_0-9]+", target) and here != "interop" and path.endswith(".hpp"):
                    yield f"{path}: includes {target}, which is neither tempflow's nor the standard library's"
            elif quote != '"' or target not in headers:
                yield f"{path}: includes {quote}{target}: no such header, or not in quotes"
            elif path.endswith(".hpp") and target.endswith(".cuh"):
                yield f"{path}: includes {target}, which needs a CUDA compiler"
            else:
                edges.add((here, part(target)))
                if part(target) in RANK and RANK[part(target)] > RANK[here]:
                    yield f"{path}: includes {target}, which lies above it"
    for a, b in sorted(edges):
        if a < b and (b, a) in edges:
            yield f"{a} and {b} include each other"


def self_test():
    """Each rule finds its offence, and a clean tree has none."""
    a, b = "tempflow/schedule/a.hpp", "tempflow/core/b.hpp"
    c = "tempflow/objective/c.hpp"
    assert not [*problems({a: f'{HEAD} a\n#include "{b}"\n#include <vector>\n', b: f"{HEAD} b\n"})]
    for offence, headers in {
        "no layer": {"tempflow/other/a.hpp": HEAD},
        "begin with": {a: "#pragma once\n"},
        "at most 300": {a: HEAD + "\n" * 300},
        "belongs in config": {a: f"{HEAD} a\n#ifdef __CUDACC__\n"},
        "neither": {a: f"{HEAD} a\n#include <Eigen/Core>\n"},
        "no such header": {a: f'{HEAD} a\n#include "tempflow/core/none.hpp"\n'},
        "CUDA compiler": {a: f'{HEAD} a\n#include "tempflow/core/b.cuh"\n', "tempflow/core/b.cuh": HEAD},
        "above it": {b: f'{HEAD} b\n#include "{a}"\n', a: HEAD},
        "each other": {a: f'{HEAD} a\n#include "{c}"\n', c: f'{HEAD} c\n#include "{a}"\n'},
    }.items():
        found = [*problems(headers)]
        assert len(found) == 1 and offence in found[0], (offence, found)


self_test()
root = Path(__file__).resolve().parents[2]
include = root / "include"
headers = {str(p.relative_to(include)): p.read_text() for p in sorted(include.rglob("*.?*")) if p.is_file()}
found = [*problems(headers)]
for source in [p for top in ("examples", "benchmarks") for p in sorted((root / top).rglob("*.[ch]*")) if p.suffix != ".pyc"]:
    if re.search(r'[<"]tempflow/\w+/(detail|host|kernels)/', source.read_text()):
        found.append(f"{source.relative_to(root)}: detail/, host/ and kernels/ are nobody's to include")
print(*found, f"{len(headers)} headers, {len(found)} problems", sep="\n")
sys.exit(bool(found) or not headers)
