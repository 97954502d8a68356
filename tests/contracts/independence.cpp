// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What is computed does not depend on the number of threads, on how a batch is split, or on where its rows
// lie.

#include <algorithm>
#include <span>
#include <vector>

#include "support/all_operations.hpp"
#include "support/catch.hpp"
#include "tempflow/backend/cpu.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::index_t;

namespace {

template <class T>
using inputs = support::operation_inputs<T>;

constexpr index_t rows = inputs<float>::rows, columns = inputs<float>::columns,
                  explorations = inputs<float>::explorations;

// A buffer whose rows lie apart, with sentinels between them.
template <class T>
class strided {
 public:
  strided() : data_(static_cast<std::size_t>(rows * explorations * stride), sentinel()) {}
  explicit strided(batch_view<const T> from) : strided() {
    for (index_t i = 0; i < from.rows(); ++i) std::copy_n(from.row(i), columns, view(from.rows()).row(i));
  }

  batch_view<T> view(index_t count) { return {data_.data() + offset, count, columns, stride}; }
  batch_view<const T> view(index_t count) const { return {data_.data() + offset, count, columns, stride}; }

  bool gaps_are_untouched() const {
    for (std::size_t i = 0; i < data_.size(); ++i) {
      const auto within = (static_cast<index_t>(i) - offset + stride) % stride;
      if (within >= columns && data_[i] != sentinel()) return false;
    }
    return true;
  }

 private:
  static constexpr index_t stride = columns + 14, offset = 5;
  static T sentinel() { return tempflow::store<T>(-77.0f); }

  std::vector<T> data_;
};

}  // namespace

TEMPLATE_TEST_CASE("results have the same bits on 1, 2 and 3 threads", "[independence]", float, bfloat16) {
  const inputs<TestType> given;
  const auto expected = given.compute(cpu_backend(1));
  CHECK(given.compute(cpu_backend(2)).same_as(expected));
  CHECK(given.compute(cpu_backend(3)).same_as(expected));
}

TEMPLATE_TEST_CASE("results have the same bits however a batch is split", "[independence]", float, bfloat16) {
  const inputs<TestType> given;
  const auto expected = given.compute(cpu_backend(1));
  for (const index_t batch_size : {1, 2, 7, 22}) {
    INFO("batches of " << batch_size);
    CHECK(given.compute(cpu_backend(3), batch_size).same_as(expected));
  }
}

TEMPLATE_TEST_CASE("results have the same bits in strided views, and nothing between the rows is written",
                   "[independence]", float, bfloat16) {
  const inputs<TestType> given;
  const auto expected = given.compute(cpu_backend(1));
  const cpu_backend cpu(2);
  const strided<TestType> x(given.x.view()), v(given.v.view()), v_ref(given.v_ref.view());
  strided<TestType> noise, mean, y, trunk, branches, guided, kept, of_conditional, of_unconditional;
  strided<float> gradient;
  support::operation_outputs<TestType> out;
  tempflow::step(cpu, x.view(rows), v.view(rows), given.steps, {support::test_key, given.ids}, y.view(rows),
                 out.log_probs);
  tempflow::branch_step(cpu, x.view(rows), v.view(rows), given.steps, given.steps,
                        {support::test_key, given.ids}, trunk.view(rows), branches.view(rows * explorations),
                        out.branch_log_probs);
  tempflow::fill_noise(cpu, {support::test_key, given.ids}, noise.view(rows));
  tempflow::ode_step(cpu, x.view(rows), v.view(rows), given.steps, mean.view(rows));
  tempflow::log_prob(cpu, x.view(rows), v.view(rows), y.view(rows), given.steps, out.scored);
  const tempflow::policy_batch<TestType> batch{.x = x.view(rows),
                                               .y = y.view(rows),
                                               .transitions = given.steps,
                                               .old_log_probs = given.old,
                                               .advantages = given.advantages};
  tempflow::policy_loss(cpu, batch, v.view(rows), v_ref.view(rows), given.objective, gradient.view(rows),
                        std::span(out.policy));
  const tempflow::guidance_options linear{.scale = given.scales},
      with_norms{.scale = given.scales, .channels = support::operation_outputs<TestType>::channels};
  tempflow::guide(cpu, x.view(rows), y.view(rows), linear, guided.view(rows));
  tempflow::guide(cpu, x.view(rows), y.view(rows), with_norms, kept.view(rows));
  tempflow::guide_gradient(cpu, noise.view(rows), x.view(rows), y.view(rows), with_norms,
                           of_conditional.view(rows), of_unconditional.view(rows));
  const auto pack = [](auto& from, auto& to) {
    for (index_t i = 0; i < to.rows(); ++i)
      std::copy_n(from.view(to.rows()).row(i), columns, to.view().row(i));
  };
  pack(noise, out.noise), pack(mean, out.mean), pack(y, out.y), pack(trunk, out.trunk),
      pack(branches, out.branches), pack(gradient, out.gradient), pack(guided, out.guided),
      pack(kept, out.kept), pack(of_conditional, out.of_conditional),
      pack(of_unconditional, out.of_unconditional);
  CHECK(out.same_as(expected));
  CHECK(noise.gaps_are_untouched());
  CHECK(mean.gaps_are_untouched());
  CHECK(y.gaps_are_untouched());
  CHECK(trunk.gaps_are_untouched());
  CHECK(branches.gaps_are_untouched());
  CHECK(gradient.gaps_are_untouched());
  for (const auto* result : {&guided, &kept, &of_conditional, &of_unconditional}) {
    CHECK(result->gaps_are_untouched());
  }
}

TEST_CASE("equal inputs give equal bits again", "[independence]") {
  const inputs<float> given;
  CHECK(given.compute(cpu_backend(2)).same_as(given.compute(cpu_backend(2))));
}
