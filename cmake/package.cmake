# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# The package: find_package(tempflow 0.1 COMPONENTS eigen), from an install tree or from a build tree; pkg-config tempflow, from
# an install tree. Neither holds an absolute path: an install tree can be moved.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_targets tempflow tempflow_cuda tempflow_dlpack tempflow_eigen tempflow_torch tempflow_xtensor)
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/tempflow)
configure_package_config_file(cmake/tempflow-config.cmake.in ${PROJECT_BINARY_DIR}/tempflow-config.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tempflow-config-version.cmake
                                 COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)

# What the config of a build tree finds beside it, as that of an install tree does.
configure_file(cmake/tempflow-ops.cmake ${PROJECT_BINARY_DIR}/tempflow-ops.cmake COPYONLY)
configure_file(cmake/ops.cpp.in ${PROJECT_BINARY_DIR}/ops.cpp.in COPYONLY)

# Outside the install guard, so that a project that has tempflow as a subdirectory can export its own targets.
export(TARGETS ${package_targets} NAMESPACE tempflow:: FILE ${PROJECT_BINARY_DIR}/tempflow-targets.cmake)

if(TEMPFLOW_INSTALL)
  install(TARGETS ${package_targets} EXPORT tempflow-targets FILE_SET HEADERS FILE_SET kernels)
  install(EXPORT tempflow-targets NAMESPACE tempflow:: DESTINATION ${package_dir})
  install(FILES ${PROJECT_BINARY_DIR}/tempflow-config.cmake ${PROJECT_BINARY_DIR}/tempflow-config-version.cmake
                cmake/tempflow-ops.cmake cmake/ops.cpp.in
          DESTINATION ${package_dir})

  set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig) # of what is the same for all architectures
  file(RELATIVE_PATH PKG_CONFIG_TO_PREFIX /prefix/${pkgconfig_dir} /prefix)
  configure_file(cmake/tempflow.pc.in ${PROJECT_BINARY_DIR}/tempflow.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/tempflow.pc DESTINATION ${pkgconfig_dir})
endif()
