# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Holds the noise's bits on a device under nvcc's --use_fast_math, without a GPU.

Compiles a kernel that draws noise with the option and without, and compares the PTX: it may differ in .ftz alone, which
flushes subnormal numbers to zero, and the noise computes none.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = """
#include "tempflow/core/noise.hpp"

__global__ void draw(tempflow::noise_key key, tempflow::noise_id id, tempflow::normal_quad* out) {
  const unsigned block = blockIdx.x * blockDim.x + threadIdx.x;
  out[block] = tempflow::noise_block(key, id, block);
}
"""


def ptx(options, folder, *flags):
    source, result = folder / "noise.cu", folder / "noise.ptx"
    source.write_text(SOURCE)
    subprocess.run([options.nvcc, "-ccbin", options.host, "-std=c++20", "-arch=sm_90", f"-I{options.include}", *flags,
                    "-ptx", "-o", str(result), str(source)], check=True)  # fmt: skip
    return result.read_text()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--host", default="g++", help="the host compiler")
    parser.add_argument("--include", default=str(Path(__file__).resolve().parents[2] / "include"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain, fast = ptx(options, Path(folder)), ptx(options, Path(folder), "--use_fast_math")
    if ".ftz" not in fast or "fma.rn" not in plain:
        sys.exit("fast_math.py: that is not what nvcc makes of noise")
    different = [lines for lines in zip(plain.splitlines(), fast.splitlines(), strict=False)
                 if lines[0].replace(".ftz", "") != lines[1].replace(".ftz", "")]
    if different or plain.count("\n") != fast.count("\n"):
        sys.exit("--use_fast_math changes the noise:\n" + "\n".join(f"- {a}\n+ {b}" for a, b in different))
    print(f"--use_fast_math changes none of {plain.count(';')} instructions but for .ftz")


if __name__ == "__main__":
    main()
