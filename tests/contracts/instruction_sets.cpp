// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend picks the processor's best instructions at run time; the bits are those of the portable
// code.

#include "tempflow/core/instruction_set.hpp"

#include <span>
#include <vector>

#include "support/all_operations.hpp"
#include "support/catch.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::cpu_backend;
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

TEMPLATE_TEST_CASE("large gradients and objectives of the caller have the same bits in all instruction sets",
                   "[independence]", float, tempflow::bfloat16) {
  constexpr tempflow::index_t rows = 40, columns = 65536;  // stored past the caches
  const cpu_backend cpu(1, instruction_set::portable);
  const support::drawn_rows<TestType> drawn(cpu, rows, columns);
  const auto compute = [&](const cpu_backend& backend, std::vector<tempflow::policy_row>& results) {
    tempflow::batch_buffer<TestType> gradient(rows, columns);
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

TEST_CASE("a backend uses no more instructions than it was told", "[backend]") {
  CHECK(cpu_backend(1).instructions() == tempflow::best_instruction_set());
  CHECK(cpu_backend(1, instruction_set::portable).instructions() == instruction_set::portable);
  CHECK(cpu_backend(1, instruction_set::avx2).instructions() <= instruction_set::avx2);
}
