// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The cpu backend picks the processor's best instructions at run time; the bits are those of the portable
// code.

#include "support/all_operations.hpp"
#include "support/catch.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::index_t;

namespace {

// The cpu backend's arithmetic on the calling thread, in the instructions that this file is compiled for.
struct portable_backend {
  using arithmetic = tempflow::cpu_backend::arithmetic;

  template <class Body>
  void for_each_index(index_t count, const Body& body) const {
    for (index_t i = 0; i < count; ++i) body(i);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("results have the same bits as those of portable instructions", "[independence]", float,
                   double, tempflow::bfloat16, tempflow::float16) {
  STATIC_REQUIRE(tempflow::backend<portable_backend>);
  const support::operation_inputs<TestType> given;
  CHECK(given.compute(tempflow::cpu_backend(1)).same_as(given.compute(portable_backend{})));
}
