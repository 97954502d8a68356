// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Catch2's runner, for every program that has a main() of its own or support/main.cpp's. Catch2 2 compiles itself here.

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include "support/runner.hpp"

int support::run_tests(int argc, char** argv) { return Catch::Session().run(argc, argv); }
