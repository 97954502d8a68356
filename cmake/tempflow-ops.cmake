# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# tempflow_add_ops(NAME): a static library of the operations of the host backends, one source per storage type or pair of types, built in
# the tree of whoever asks, with that tree's flags. Sources that include <tempflow/compiled.hpp> and link it instantiate
# none of them. tempflow::ops is one such library; a second one serves sources with other flags (-ffast-math).
set(TEMPFLOW_OPS_TEMPLATE ${CMAKE_CURRENT_LIST_DIR}/ops.cpp.in)
function(tempflow_add_ops name)
  foreach(source IN ITEMS OPS:float OPS_AND_FP32_GRADIENT:double OPS_AND_FP32_GRADIENT:bfloat16 OPS_AND_FP32_GRADIENT:float16
                          OPS_WITH_VELOCITIES:bfloat16 OPS_WITH_VELOCITIES:float16)
    string(REPLACE ":" ";" source ${source})
    list(POP_FRONT source OPERATIONS TYPE)
    set(file ${CMAKE_CURRENT_BINARY_DIR}/${name}/${OPERATIONS}_${TYPE}.cpp)
    configure_file(${TEMPFLOW_OPS_TEMPLATE} ${file} @ONLY)
    list(APPEND sources ${file})
  endforeach()
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${sources})
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON) # a shared library may take it in
  target_link_libraries(${name} PUBLIC tempflow::tempflow)
endfunction()
