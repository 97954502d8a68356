// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The gradient of any loss of log-probs on a device: the bits of the cpu backend.

#include <type_traits>

#include "support/catch.hpp"
#include "support/sibling_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"

using support::placed;
using tempflow::index_t;

namespace {

template <class B>
tempflow::batch_buffer<float> gradient_of(const B& backend, const support::sibling_problem<float>& given,
                                          tempflow::policy_batch<float> batch, index_t columns) {
  placed<float, B> x(backend, given.x), y(backend, given.rows.y), v(backend, given.v),
      gradient(backend, given.states(), columns);
  batch.x = x.view();
  if (!batch.drawn) batch.y = y.view();
  const auto factors = support::numbers(31).take(given.total());
  CHECK(tempflow::log_prob_gradient(backend, batch, v.view(), factors, gradient.view()) == 0);
  return gradient.values();
}

}  // namespace

TEST_CASE("a device turns factors of log-probs into the gradient of the cpu backend", "[device]") {
  const tempflow::cpu_backend cpu(1);
  for (const index_t columns : {33, 1024, 2500}) {
    const support::sibling_problem<float> given(cpu, columns);
    for (const auto& batch : {given.batch(), given.drawn_again()}) {
      INFO(columns << " columns, " << (batch.drawn ? "drawn again" : "stored"));
      CHECK(support::same_bits(gradient_of(support::make_test_device(), given, batch, columns),
                               gradient_of(cpu, given, batch, columns)));
    }
  }
}

TEST_CASE("a device tells the rows that fp16 loses, as the cpu backend does", "[device]") {
  const tempflow::cpu_backend cpu(1);
  const auto device = support::make_test_device();
  constexpr index_t columns = 1500;
  const support::sibling_problem<tempflow::float16> given(cpu, columns);
  const auto lost = [&](const auto& backend, tempflow::policy_batch<tempflow::float16> batch,
                        index_t mean_over) {
    using B = std::remove_cvref_t<decltype(backend)>;
    placed<tempflow::float16, B> x(backend, given.x), y(backend, given.rows.y), v(backend, given.v),
        gradient(backend, given.states(), columns);
    batch.x = x.view(), batch.mean_over = mean_over;
    if (!batch.drawn) batch.y = y.view();
    return tempflow::policy_loss(backend, batch, v.view(), {}, tempflow::clipped_grpo{}, gradient.view())
        .underflowed_rows;
  };
  for (const auto& batch : {given.batch(), given.drawn_again()}) {
    for (const index_t mean_over : {1, 10'000'000}) {
      const index_t expected = mean_over == 1 ? 0 : given.total();
      CHECK(lost(cpu, batch, mean_over) == expected);
      CHECK(lost(device, batch, mean_over) == expected);
    }
  }
}
