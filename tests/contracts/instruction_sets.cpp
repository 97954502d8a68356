// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend picks the processor's best instructions at run time; the bits are those of the portable
// code.

#include "tempflow/core/instruction_set.hpp"

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

TEST_CASE("a backend uses no more instructions than it was told", "[backend]") {
  CHECK(cpu_backend(1).instructions() == tempflow::best_instruction_set());
  CHECK(cpu_backend(1, instruction_set::portable).instructions() == instruction_set::portable);
  CHECK(cpu_backend(1, instruction_set::avx2).instructions() <= instruction_set::avx2);
}
