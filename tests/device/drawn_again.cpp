// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The loss of transitions whose noise is drawn again, on a device: with the bits of the cpu backend.

#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::layout;
using support::placed;
using support::sibling_problem;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::clipped_grpo;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::policy_row;

namespace {

const clipped_grpo with_kl{.kl_beta = 0.2};

template <class G>
struct outcome {
  batch_buffer<G> gradient;
  std::vector<policy_row> rows, without_gradient;
};

template <class G, class T, class B>
outcome<G> loss_of(const B& backend, const sibling_problem<T>& given, const clipped_grpo& with,
                   layout shape = {}) {
  placed<T, B> v(backend, given.v, shape), v_ref(backend, given.v_ref, shape);
  placed<G, B> gradient(backend, given.states(), given.x.columns(), shape);
  outcome<G> out{.gradient = {},
                 .rows = std::vector<policy_row>(static_cast<std::size_t>(given.total())),
                 .without_gradient = {}};
  out.without_gradient = out.rows;
  const auto loss = [&](const auto& to, std::vector<policy_row>& rows) {
    if (with.kl_beta > 0) {
      tempflow::policy_loss(backend, given.drawn_again(), v.view(), v_ref, with, to, std::span(rows));
    } else {
      tempflow::policy_loss(backend, given.drawn_again(), v.view(), {}, with, to, std::span(rows));
    }
  };
  loss(gradient.view(), out.rows);
  loss(tempflow::batch_view<G>(), out.without_gradient);
  out.gradient = gradient.values();
  CHECK(gradient.sentinels_stand());
  return out;
}

template <class G, class T>
void check_same(const sibling_problem<T>& given, const clipped_grpo& with, layout shape = {}) {
  INFO(given.x.columns() << " columns, offset " << shape.offset << ", padding " << shape.padding);
  const auto device = loss_of<G>(support::make_test_device(), given, with, shape),
             expected = loss_of<G>(cpu_backend(1), given, with);
  CHECK(support::same_bits(device.gradient, expected.gradient));
  for (std::size_t i = 0; i < device.rows.size(); ++i) {
    for (const auto& [a, b] : {std::pair(device.rows[i], expected.rows[i]),
                               std::pair(device.without_gradient[i], expected.without_gradient[i])}) {
      CHECK((a.log_prob == b.log_prob && a.log_ratio == 0 && a.ratio == 1 && a.finite == b.finite));
      if (a.finite) CHECK((a.surrogate == b.surrogate && a.kl == b.kl));
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("drawn again, a device's gradient has the bits of the cpu backend",
                   "[device][drawn_again]", float, double, bfloat16, float16) {
  for (const index_t columns : {1, 33, 1024, 4099}) {
    for (const bool antithetic : {false, true}) {
      sibling_problem<TestType> given(cpu_backend(1), columns);
      given.draw(cpu_backend(1), antithetic);
      check_same<TestType>(given, with_kl);
      check_same<TestType>(given, {});
    }
  }
  check_same<TestType>(sibling_problem<TestType>(cpu_backend(1), 2048, {1, 1, 1}), with_kl);
}

TEST_CASE("what a device draws again may begin anywhere, and be much", "[device][drawn_again]") {
  for (const layout shape : {layout{1, 0}, layout{0, 1}, layout{4, 0}})
    check_same<float>(sibling_problem<float>(cpu_backend(1), 2049), with_kl, shape);
  std::vector<index_t> counts;
  for (index_t s = 0; s < 150; ++s) counts.push_back(s % 7);
  check_same<float>(sibling_problem<float>(cpu_backend(1), 5, counts), with_kl);
  check_same<float>(sibling_problem<bfloat16>(cpu_backend(1), 2048), with_kl);
  check_same<float16>(sibling_problem<float16>(cpu_backend(1), 37, {0, 0}), with_kl);
}

TEST_CASE("states of a device that are drawn again and are not finite are left out",
          "[device][drawn_again]") {
  sibling_problem<float16> given(cpu_backend(1), 3000);
  for (std::size_t i = 4; i < 10; ++i) given.rows.weights[i] = 1e12;  // the fourth overflows
  given.v.view().row(4)[7] = tempflow::store<float16>(std::numeric_limits<float>::infinity());
  check_same<float16>(given, with_kl);
  check_same<float16>(given, {});
}
