# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0

# The port of the tree that it lies in: vcpkg install tempflow --overlay-ports=cmake/ports/vcpkg
get_filename_component(SOURCE_PATH ${CURRENT_PORT_DIR}/../../../.. ABSOLUTE)
set(VCPKG_BUILD_TYPE release) # headers are the same in both
vcpkg_cmake_configure(SOURCE_PATH ${SOURCE_PATH}
                      OPTIONS -DTEMPFLOW_BUILD_TESTS=OFF -DTEMPFLOW_BUILD_EXAMPLES=OFF -DTEMPFLOW_BUILD_BENCHMARKS=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/tempflow)
vcpkg_fixup_pkgconfig()
file(INSTALL ${CMAKE_CURRENT_LIST_DIR}/usage DESTINATION ${CURRENT_PACKAGES_DIR}/share/${PORT})
vcpkg_install_copyright(FILE_LIST ${SOURCE_PATH}/LICENSE)
