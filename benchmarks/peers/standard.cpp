// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The standard library: normals one at a time.

#include <random>

#include "../peer.hpp"

namespace bench {
namespace {

operation normals(const task& t) {
  return [&t, bits = std::mt19937(1)](const buffers& b, results&) mutable {
    std::normal_distribution<float> normal;
    auto* const out = static_cast<float*>(b.out);
    for (index e = 0; e < t.elements(); ++e) out[e] = normal(bits);
  };
}

const registration added({"std",
                          "std::normal_distribution on std::mt19937, plain -O2",
                          {{kernel::normals, storage::f32, normals}}});

}  // namespace
}  // namespace bench
