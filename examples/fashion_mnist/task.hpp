// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace fashion {

inline constexpr int image_side = 28;
inline constexpr int pixels = image_side * image_side;
inline constexpr int classes = 10;

}  // namespace fashion
