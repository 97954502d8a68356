// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <tempflow/tempflow.hpp>

#include "layout.hpp"

int main() {
  static_assert(tempflow::version_major == TEMPFLOW_VERSION_MAJOR);
  const bool same = layout_here() == layout_elsewhere();
  std::printf("tempflow %d.%d.%d: %s\n", tempflow::version_major, tempflow::version_minor,
              tempflow::version_patch, same ? "one definition" : "two definitions");
  return same ? 0 : 1;
}
