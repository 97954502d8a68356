// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend picks the processor's best instructions at run time; the bits are those of the portable
// code.

#include "tempflow/core/instruction_set.hpp"

#include <span>
#include <utility>
#include <vector>

#include "support/all_operations.hpp"
#include "support/catch.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::instruction_set;

TEMPLATE_TEST_CASE("results have the same bits in all instruction sets", "[independence]", float, double,
                   tempflow::bfloat16, tempflow::float16) {
  const support::operation_inputs<TestType> given;
  const auto portable = given.compute(cpu_backend(1, instruction_set::portable));
  for (const auto instructions : {instruction_set::avx2, instruction_set::avx512}) {
    const cpu_backend cpu(1, instructions);
    INFO("asked for " << to_string(instructions) << ", got " << to_string(cpu.instructions()));
    CHECK(given.compute(cpu).same_as(portable));
  }
}

namespace {

// An objective whose multiply-adds are a compiler's to contract.
struct loose_objective {
  double kl_beta = 0.1;
  tempflow::kl_denominator kl_over = tempflow::kl_denominator::transition_variance;

  void validate() const {}
  tempflow::surrogate operator()(double log_ratio, double advantage, double weight) const {
    const double third = 1.0 / 3;
    return {.loss = weight * advantage + log_ratio * log_ratio * third,
            .slope = 2 * third * log_ratio + weight * advantage};
  }
};

}  // namespace

// States and their velocities, and gradients.
TEMPLATE_TEST_CASE("large gradients and objectives of the caller have the same bits in all instruction sets",
                   "[independence]", (std::pair<float, float>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>),
                   (std::pair<bfloat16, float>)) {
  using T = typename TestType::first_type;
  using G = typename TestType::second_type;
  constexpr tempflow::index_t rows = 40, columns = 65536;  // stored past the caches
  const cpu_backend cpu(1, instruction_set::portable);
  const support::drawn_rows<T> drawn(cpu, rows, columns);
  const auto compute = [&](const cpu_backend& backend, std::vector<tempflow::policy_row>& results) {
    tempflow::batch_buffer<G> gradient(rows, columns);
    tempflow::policy_loss(backend, drawn.batch(), drawn.v.view(), drawn.v_ref, loose_objective{},
                          gradient.view(), std::span(results));
    return gradient;
  };
  std::vector<tempflow::policy_row> expected_rows(rows), found_rows(rows);
  const auto expected = compute(cpu, expected_rows);
  for (const auto instructions : {instruction_set::avx2, instruction_set::avx512}) {
    const auto found = compute(cpu_backend(3, instructions), found_rows);
    INFO("asked for " << to_string(instructions));
    CHECK(support::same_bits(found, expected));
    int wrong = 0;
    for (std::size_t i = 0; i < found_rows.size(); ++i) {
      wrong += found_rows[i].surrogate == expected_rows[i].surrogate ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}

namespace {

// Each pattern of 16 bits: zeros, subnormals, infinities and NaNs with their payloads.
template <class T>
tempflow::batch_buffer<T> all_patterns() {
  tempflow::batch_buffer<T> batch(1, 65536);
  for (index_t e = 0; e < 65536; ++e) batch.view().data()[e] = T{static_cast<std::uint16_t>(e)};
  return batch;
}

// fp32 numbers around those of 16 bits: each, halfway to the next, and a little beside.
template <class T>
tempflow::batch_buffer<float> around_patterns() {
  tempflow::batch_buffer<float> batch(4, 65536);
  for (index_t e = 0; e < 65536; ++e) {
    const auto bits = tempflow::bit_cast<std::uint32_t>(tempflow::load(T{static_cast<std::uint16_t>(e)}));
    const std::uint32_t half = std::is_same_v<T, bfloat16> ? 0x8000u : 0x1000u;
    const std::uint32_t near[] = {bits, bits + half, bits + half - 1, bits + half + 1};
    for (index_t k = 0; k < 4; ++k) batch.view().row(k)[e] = tempflow::bit_cast<float>(near[k]);
  }
  return batch;
}

template <class T, class V>
bool copies_alike(const tempflow::batch_buffer<V>& v) {
  const tempflow::batch_buffer<T> zeros(v.rows(), v.columns());
  const auto copy = [&](instruction_set instructions) {
    tempflow::batch_buffer<T> to(v.rows(), v.columns());
    tempflow::ode_step(cpu_backend(1, instructions), zeros.view(), v,
                       tempflow::transition{.alpha = 0, .beta = 1}, to);
    return to;
  };
  const auto expected = copy(instruction_set::portable);
  return support::same_bits(copy(instruction_set::avx2), expected) &&
         support::same_bits(copy(instruction_set::avx512), expected);
}

}  // namespace

TEMPLATE_TEST_CASE("16 bits are read and written alike in all instruction sets, whatever they stand for",
                   "[independence]", bfloat16, float16) {
  CHECK(copies_alike<float>(all_patterns<TestType>()));
  CHECK(copies_alike<TestType>(around_patterns<TestType>()));
  CHECK(copies_alike<float16>(all_patterns<TestType>()));
}

TEST_CASE("a backend uses no more instructions than it was told", "[backend]") {
  CHECK(cpu_backend(1).instructions() == tempflow::best_instruction_set());
  CHECK(cpu_backend(1, instruction_set::portable).instructions() == instruction_set::portable);
  CHECK(cpu_backend(1, instruction_set::avx2).instructions() <= instruction_set::avx2);
}
