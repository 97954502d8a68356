// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// dL/dv as policy_loss writes it, against central differences of the loss that policy_loss returns, in fp64.

#include "tempflow/ops/policy_loss.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"

using tempflow::batch_buffer;
using tempflow::clip_range;
using tempflow::clipped_grpo;
using tempflow::index_t;
using tempflow::kl_denominator;

namespace {

constexpr index_t rows = 6, columns = 5;

struct problem {
  support::drawn_rows<double> drawn;

  explicit problem(tempflow::log_prob_convention convention)
      : drawn(tempflow::reference_backend{}, rows, columns, convention) {
    // Moderate steps, so that differences of 1e-5 are small on the scale of every std, and off policy.
    const auto chain = tempflow::make_chain({1, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1}, tempflow::flow_sde{0.7});
    for (index_t i = 0; i < rows; ++i) drawn.steps[static_cast<std::size_t>(i)] = chain[i];
    tempflow::log_prob(tempflow::reference_backend{}, drawn.x.view(), drawn.v, drawn.y, drawn.steps,
                       drawn.log_probs, convention);
    support::numbers source(9);
    for (double& old : drawn.log_probs) old += 0.02 * source.next();
  }

  double loss(const batch_buffer<double>& v, const clipped_grpo& objective) const {
    return tempflow::policy_loss(tempflow::reference_backend{}, drawn.batch(), v.view(), drawn.v_ref,
                                 objective, tempflow::batch_view<double>())
        .loss;
  }

  std::vector<double> numeric_gradient(const clipped_grpo& objective) const {
    const double h = 1e-5;
    std::vector<double> gradient;
    for (index_t i = 0; i < rows * columns; ++i) {
      auto up = drawn.v, down = drawn.v;
      up.view().data()[i] += h;
      down.view().data()[i] -= h;
      gradient.push_back((loss(up, objective) - loss(down, objective)) / (2 * h));
    }
    return gradient;
  }

  template <class B>
  std::vector<double> gradient(const B& backend, const clipped_grpo& objective) const {
    batch_buffer<double> written(rows, columns);
    tempflow::policy_loss(backend, drawn.batch(), drawn.v.view(), drawn.v_ref, objective, written.view());
    return support::values_of(written.view());
  }
};

double largest_of(const std::vector<double>& values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

void check_gradient(const problem& given, const clipped_grpo& objective) {
  const auto expected = given.numeric_gradient(objective);
  // Central differences with h = 1e-5: h^2 times third derivatives (1 / std^4) and 2^-53 L / h.
  const double tolerance = 1e-6 * largest_of(expected);
  CHECK(support::largest_difference(given.gradient(tempflow::reference_backend{}, objective), expected) <=
        tolerance);
  CHECK(support::largest_difference(given.gradient(tempflow::cpu_backend(1), objective), expected) <=
        tolerance);
}

const clip_range wide{1e3, 1e3};

}  // namespace

TEST_CASE("the gradient is the derivative of the loss in every convention of the log-prob", "[gradient]") {
  for (const auto convention : support::all_conventions()) {
    check_gradient(problem(convention), {.clip = wide});
  }
}

TEST_CASE("the gradient is the derivative of the loss for every denominator of the KL", "[gradient]") {
  for (const auto over :
       {kl_denominator::transition_variance, kl_denominator::diffusion, kl_denominator::unit}) {
    check_gradient(problem({}), {.clip = wide, .kl_beta = 0.7, .kl_over = over});
  }
}

TEST_CASE("the gradient is the derivative of the loss where some rows are clipped", "[gradient]") {
  const problem given({});
  const clipped_grpo objective{.clip = {0.004, 0.007}, .kl_beta = 0.1};
  batch_buffer<double> unused(rows, columns);
  const auto total = tempflow::policy_loss(tempflow::reference_backend{}, given.drawn.batch(),
                                           given.drawn.v.view(), given.drawn.v_ref, objective, unused.view());
  REQUIRE(total.clip_fraction() > 0);
  REQUIRE(total.clip_fraction() < 1);
  check_gradient(given, objective);
}

TEST_CASE("a clipped row without KL has a gradient of exactly zero", "[gradient]") {
  problem given({});
  for (std::size_t i = 0; i < rows; ++i) {
    given.drawn.log_probs[i] -= 1;  // ratio e, far above
    given.drawn.advantages[i] = 1;
  }
  const auto gradient = given.gradient(tempflow::reference_backend{}, {});
  CHECK(largest_of(gradient) == 0);
}

TEST_CASE("on policy the gradient is -w A beta e / (D std N) with the noise e that was drawn", "[gradient]") {
  const support::drawn_rows<double> drawn(tempflow::reference_backend{}, rows, columns);
  batch_buffer<double> gradient(rows, columns);
  tempflow::policy_loss(tempflow::reference_backend{}, drawn.batch(), drawn.v.view(), {}, clipped_grpo{},
                        gradient.view());
  for (index_t i = 0; i < rows; ++i) {
    const auto row = static_cast<std::size_t>(i);
    const auto& step = drawn.steps[row];
    const double factor =
        -drawn.weights[row] * drawn.advantages[row] * step.beta / (columns * step.std * rows);
    for (index_t e = 0; e < columns; ++e) {
      const double noise_e = static_cast<double>(
          tempflow::noise_block(support::test_key, support::mixed_ids(rows)[row], e / 4).value[e % 4]);
      CHECK(gradient.view().row(i)[e] == Approx(factor * noise_e).epsilon(1e-9).margin(1e-12));
    }
  }
}

TEST_CASE("gradients of batches accumulate to the gradient of the whole when they share its number of rows",
          "[gradient]") {
  const problem given({});
  auto batch = given.drawn.batch();
  const clipped_grpo objective{.clip = wide, .kl_beta = 0.1};
  const auto whole = given.gradient(tempflow::reference_backend{}, objective);
  batch_buffer<double> doubled(rows, columns);
  batch.mean_over = 2 * rows;
  const auto total = tempflow::policy_loss(tempflow::reference_backend{}, batch, given.drawn.v.view(),
                                           given.drawn.v_ref, objective, doubled.view());
  const auto halves = support::values_of(doubled.view());
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(halves[i] == Approx(whole[i] / 2).epsilon(1e-14));
  CHECK(total.loss == Approx(given.loss(given.drawn.v, objective) / 2).epsilon(1e-14));
}

TEST_CASE("the gradient scale multiplies the gradient and nothing else", "[gradient]") {
  const problem given({});
  auto batch = given.drawn.batch();
  const clipped_grpo objective{.clip = wide, .kl_beta = 0.1};
  const auto plain = given.gradient(tempflow::reference_backend{}, objective);
  batch_buffer<double> scaled(rows, columns);
  batch.gradient_scale = 1024;
  const auto total = tempflow::policy_loss(tempflow::reference_backend{}, batch, given.drawn.v.view(),
                                           given.drawn.v_ref, objective, scaled.view());
  const auto values = support::values_of(scaled.view());
  for (std::size_t i = 0; i < plain.size(); ++i) CHECK(values[i] == 1024 * plain[i]);
  CHECK(total.loss == given.loss(given.drawn.v, objective));
}
