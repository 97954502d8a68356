# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
from spack.package import *
from spack_repo.builtin.build_systems.cmake import CMakePackage


class Tempflow(CMakePackage):
    """Policy-gradient primitives for flow-matching models: headers, in C++20. Installed from a checkout, by `spack develop`."""

    license("Apache-2.0")
    version("0.1.0")

    depends_on("cxx", type="build")
    depends_on("cmake@3.23:", type="build")

    def cmake_args(self):
        return [self.define(f"TEMPFLOW_BUILD_{part}", False) for part in ("TESTS", "EXAMPLES", "BENCHMARKS")]
