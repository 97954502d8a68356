// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: tempflow reports errors by exceptions
// flags: -fno-exceptions

#include <tempflow/config.hpp>

int main() {}
