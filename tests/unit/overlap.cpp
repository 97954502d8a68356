// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Whether two batches share memory, against counting their elements one by one.

#include <set>
#include <vector>

#include "support/catch.hpp"
#include "tempflow/ops/detail/checks.hpp"

using tempflow::batch_view;
using tempflow::index_t;

namespace {

std::set<const float*> elements_of(batch_view<float> batch) {
  std::set<const float*> found;
  for (index_t i = 0; i < batch.rows(); ++i) {
    for (index_t e = 0; e < batch.columns(); ++e) found.insert(batch.row(i) + e);
  }
  return found;
}

bool share_an_element(batch_view<float> a, batch_view<float> b) {
  const auto of_b = elements_of(b);
  for (const float* element : elements_of(a)) {
    if (of_b.contains(element)) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("batches overlap exactly when they share an element, whatever their strides", "[overlap]") {
  std::vector<float> data(64);
  std::vector<batch_view<float>> views;
  for (const index_t offset : {0, 1, 2, 3, 5, 8, 20}) {
    for (const index_t rows : {0, 1, 2, 4}) {
      for (const index_t columns : {1, 2, 3}) {
        for (const index_t stride : {3, 4, 7, 9})
          views.emplace_back(data.data() + offset, rows, columns, stride);
      }
    }
  }
  int wrong = 0, overlapping = 0;
  for (const auto& a : views) {
    for (const auto& b : views) {
      const bool expected = share_an_element(a, b);
      overlapping += expected ? 1 : 0;
      wrong += tempflow::detail::overlap(a, b) == expected ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(overlapping > 1000);
  CHECK(overlapping < static_cast<int>(views.size() * views.size()) - 1000);
}

TEST_CASE("batches of different types overlap by their bytes", "[overlap]") {
  std::vector<double> data(8);
  const batch_view<double> wide(data.data(), 2, 2, 4);  // bytes 0 to 15 and 32 to 47
  auto* const narrow = reinterpret_cast<float*>(data.data());
  CHECK(tempflow::detail::overlap(wide, batch_view<float>(narrow + 3, 1, 1)));
  CHECK_FALSE(tempflow::detail::overlap(wide, batch_view<float>(narrow + 4, 1, 4)));
  CHECK(tempflow::detail::overlap(batch_view<float>(narrow + 4, 1, 5), wide));
}
