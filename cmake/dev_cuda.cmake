# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# TEMPFLOW_HAS_CUDA: whether this project's own tests, examples and benchmarks have CUDA sources. No consumer needs this.
option(TEMPFLOW_CUDA "Build the CUDA tests, examples and benchmarks, where there is a compiler for them" ON)
set(TEMPFLOW_HAS_CUDA OFF)
if(TEMPFLOW_CUDA AND CUDAToolkit_FOUND AND NOT TEMPFLOW_SANITIZE)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    # That of this machine's GPU. Without one, nothing runs that is compiled here, and one architecture shows that it
    # compiles and links; tests/cuda/kernels.py compiles the kernels for all.
    include(cmake/gpu_architectures.cmake)
    tempflow_gpu_architectures(CMAKE_CUDA_ARCHITECTURES 90)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    set(TEMPFLOW_HAS_CUDA ON)
  endif()
endif()
if(NOT TEMPFLOW_HAS_CUDA)
  message(STATUS "tempflow: no CUDA tests, examples and benchmarks, they need a CUDA compiler and TEMPFLOW_CUDA")
endif()
