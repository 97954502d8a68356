// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace support {

/// Runs the program's tests as its arguments say; returns its exit status.
int run_tests(int argc, char** argv);

}  // namespace support
