# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# TEMPFLOW_HAS_CUDA: whether this project's own tests, examples and benchmarks have CUDA sources. No consumer needs this.
option(TEMPFLOW_CUDA "Build the CUDA tests, examples and benchmarks, where there is a compiler for them" ON)
set(TEMPFLOW_HAS_CUDA OFF)
if(TEMPFLOW_CUDA AND CUDAToolkit_FOUND AND NOT TEMPFLOW_SANITIZE)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75-virtual 80-real 90) # the last as PTX too, which newer ones compile at start
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    set(TEMPFLOW_HAS_CUDA ON)
  endif()
endif()
if(NOT TEMPFLOW_HAS_CUDA)
  message(STATUS "tempflow: no CUDA tests, examples and benchmarks, they need a CUDA compiler")
endif()
