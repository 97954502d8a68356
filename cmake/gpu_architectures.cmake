# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# tempflow_gpu_architectures(OUT OTHERWISE): the architectures of this machine's GPUs. (CMake's "native" is an error where there
# is a toolkit and no GPU.)
function(tempflow_gpu_architectures out otherwise)
  set(found)
  find_program(NVIDIA_SMI nvidia-smi)
  if(NVIDIA_SMI)
    execute_process(COMMAND ${NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE gpus ERROR_QUIET)
    string(REGEX MATCHALL "[0-9]+[.][0-9]" found "${gpus}")
    list(TRANSFORM found REPLACE "[.]" "")
    list(REMOVE_DUPLICATES found)
  endif()
  if(NOT found)
    set(found ${otherwise})
  endif()
  set(${out} ${found} PARENT_SCOPE)
endfunction()
