# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# tempflow_dev_flags: what this project's own tests, examples and benchmarks are compiled with, and no consumer.
option(TEMPFLOW_WERROR "Treat warnings as errors" OFF)
set(TEMPFLOW_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, as in address,undefined")
set(TEMPFLOW_NO_SANITIZE "" CACHE STRING "Checks of theirs to leave out, for -fno-sanitize=")

set(CMAKE_CXX_EXTENSIONS OFF)

add_library(tempflow_dev_flags INTERFACE)
if(MSVC)
  target_compile_options(tempflow_dev_flags INTERFACE /W4 $<$<BOOL:${TEMPFLOW_WERROR}>:/WX>)
else()
  target_compile_options(tempflow_dev_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:
    -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Wshadow -Wundef -Wnon-virtual-dtor
    -Woverloaded-virtual
    $<$<BOOL:${TEMPFLOW_WERROR}>:-Werror>>)
endif()
if(TEMPFLOW_SANITIZE)
  target_compile_options(tempflow_dev_flags INTERFACE
    -fsanitize=${TEMPFLOW_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-error) # GCC 12 warns wrongly of copies of strings that the address sanitizer has changed
  if(TEMPFLOW_NO_SANITIZE)
    target_compile_options(tempflow_dev_flags INTERFACE -fno-sanitize=${TEMPFLOW_NO_SANITIZE})
  endif()
  target_link_options(tempflow_dev_flags INTERFACE -fsanitize=${TEMPFLOW_SANITIZE})
  target_compile_definitions(tempflow_dev_flags INTERFACE TEMPFLOW_ENABLE_ASSERTS)
endif()

# tempflow_native_flags: for what measures itself on the machine that builds it, the examples and the benchmarks.
option(TEMPFLOW_EXAMPLES_NATIVE "Compile examples and benchmarks for this machine's processor" ON)
add_library(tempflow_native_flags INTERFACE)
if(TEMPFLOW_EXAMPLES_NATIVE)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native TEMPFLOW_HAS_MARCH_NATIVE)
  if(TEMPFLOW_HAS_MARCH_NATIVE)
    target_compile_options(tempflow_native_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
  endif()
endif()
