// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "support/runner.hpp"

int main(int argc, char** argv) { return support::run_tests(argc, argv); }
