# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
include(CMakeFindDependencyMacro)
find_dependency(tempflow 0.1)
include(${CMAKE_CURRENT_LIST_DIR}/scheduler-targets.cmake)
