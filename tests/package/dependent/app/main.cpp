// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include <scheduler.hpp>

int main() { return product_chain().steps() == 10 ? 0 : 1; }
