# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a bug report needs to know of an installation."""

import platform

import torch

from ._operators import has_cuda, ops


def config_summary() -> str:
    """The operators' own build (config_summary.hpp), and torch, Python and the GPU that they meet here, a line each."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU here"
    kernels = "yes" if has_cuda else "no, the package or torch was built without CUDA"
    return (f"{ops.config_summary()}"
            f"torch {torch.__version__}, {torch.get_num_threads()} threads; Python {platform.python_version()}, "
            f"{platform.platform()}\n"
            f"CUDA kernels: {kernels}; {gpu}\n")
