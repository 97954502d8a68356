// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include <layout.hpp>

layout layout_elsewhere() { return layout_here(); }
