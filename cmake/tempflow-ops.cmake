# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# tempflow_add_ops(NAME): a static library of the operations of the host backends, one source per storage type, built in
# the tree of whoever asks, with that tree's flags. Sources that include <tempflow/compiled.hpp> and link it instantiate
# none of them. tempflow::ops is one such library; a second one serves sources with other flags (-ffast-math).
set(TEMPFLOW_OPS_TEMPLATE ${CMAKE_CURRENT_LIST_DIR}/ops.cpp.in)
function(tempflow_add_ops name)
  foreach(TYPE IN ITEMS float double bfloat16 float16)
    set(INSTANTIATE TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT)
    if(TYPE STREQUAL "float")
      set(INSTANTIATE TEMPFLOW_INSTANTIATE_OPS)
    endif()
    configure_file(${TEMPFLOW_OPS_TEMPLATE} ${CMAKE_CURRENT_BINARY_DIR}/${name}/${TYPE}.cpp @ONLY)
    list(APPEND sources ${CMAKE_CURRENT_BINARY_DIR}/${name}/${TYPE}.cpp)
  endforeach()
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON) # a shared library may take it in
  target_link_libraries(${name} PUBLIC tempflow::tempflow)
endfunction()
