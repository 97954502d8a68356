// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: tempflow needs C\+\+20
// flags: -std=c++17

#include <tempflow/config.hpp>

int main() {}
