# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# compile_error_tests(LABEL CASES COMMAND...): each file compiles as it stands, and with -DBREAK fails with the diagnostic
# of its `// error: REGEX` line (no such line: it only has to compile). A `// flags: ...` line holds further options of
# the breaking compile.
function(compile_error_tests label cases)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${cases})
  foreach(case IN LISTS cases)
    cmake_path(GET case STEM name)
    file(STRINGS ${case} error REGEX "^// error: ")
    file(STRINGS ${case} flags REGEX "^// flags: ")
    string(REGEX REPLACE "^// error: " "error: .*" error "${error}")
    string(REGEX REPLACE "^// flags: " "" flags "${flags}")
    separate_arguments(flags)
    add_test(NAME "compiles: ${name}" COMMAND ${ARGN} ${case})
    list(APPEND tests "compiles: ${name}")
    if(error)
      add_test(NAME "compile error: ${name}" COMMAND ${ARGN} ${flags} -DBREAK ${case})
      set_tests_properties("compile error: ${name}" PROPERTIES PASS_REGULAR_EXPRESSION "${error}")
      list(APPEND tests "compile error: ${name}")
    endif()
  endforeach()
  set_tests_properties(${tests} PROPERTIES LABELS ${label} TIMEOUT 600)
endfunction()
