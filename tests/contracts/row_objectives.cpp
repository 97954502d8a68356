// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Objectives of a row's means: their gradients against central differences in fp64, a loss in two calls against one
// call, and on policy.

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/row_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/objective/advantage_weighted_matching.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/dual_clipped_grpo.hpp"
#include "tempflow/objective/flow_dppo.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/objective/preference_pairs.hpp"
#include "tempflow/objective/sequence_grpo.hpp"
#include "tempflow/ops/policy_gradient.hpp"
#include "tempflow/ops/policy_loss.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::clip_range;
using tempflow::index_t;
using tempflow::kl_denominator;
using tempflow::matching_weight;
using tempflow::reference_backend;
using tempflow::row_factors;
using tempflow::row_sums;

namespace {

const clip_range wide{0.9, 1e3};

// A loss of one's own: the ratio, without a clip, and a pull back to the velocity of the rollout's policy.
struct pulled_back {
  static constexpr tempflow::row_needs needs{.old_velocity = true};
  double pull = 0.1, kl_beta = 0;
  tempflow::kl_denominator kl_over = {};

  TEMPFLOW_HD tempflow::row_loss operator()(const tempflow::scored_row& row) const {
    const double gain = row.weight * row.advantage * std::exp(row.log_ratio);
    return {.loss = pull * row.mean.old - gain, .slope = {.log_ratio = -gain, .old = pull}};
  }
  void validate() const {}
};

/// A loss in one call.
template <class G, class B, class T, class Objective>
support::loss_outcome<G> fused(const B& backend, const support::row_problem<T>& of, const batch_buffer<T>& v,
                               const Objective& objective) {
  support::loss_outcome<G> out{batch_buffer<G>(v.rows(), v.columns()),
                               std::vector<tempflow::policy_row>(of.given.rows.log_probs.size()),
                               {}};
  if constexpr (tempflow::row_objective<Objective>) {
    out.total = tempflow::policy_loss(backend, of.batch(), v, of.given.v_ref, of.v_old, objective,
                                      out.gradient, std::span<tempflow::policy_row>(out.rows));
  } else {
    out.total = tempflow::policy_loss(backend, of.batch(), v, of.given.v_ref, objective, out.gradient,
                                      std::span<tempflow::policy_row>(out.rows));
  }
  return out;
}

/// The same in two.
template <class G, class B, class T, class Objective>
support::loss_outcome<G> in_two_calls(const B& backend, const support::row_problem<T>& of,
                                      const batch_buffer<T>& v, const Objective& objective) {
  const auto count = of.given.rows.log_probs.size();
  support::loss_outcome<G> out{
      batch_buffer<G>(v.rows(), v.columns()), std::vector<tempflow::policy_row>(count), {}};
  std::vector<row_sums> sums(count);
  std::vector<row_factors> factors(count);
  tempflow::policy_sums(backend, of.batch(), v, of.given.v_ref, of.v_old, sums,
                        tempflow::detail::mixture_of(objective));
  tempflow::policy_scores(of.batch(), objective, std::span<const row_sums>(sums),
                          std::span<tempflow::policy_row>(out.rows), std::span<row_factors>(factors));
  tempflow::policy_gradient(backend, of.batch(), v, of.given.v_ref, of.v_old, factors, out.gradient,
                            out.rows);
  out.total = tempflow::summarize(out.rows, objective.kl_beta, static_cast<double>(count));
  return out;
}

/// The gradient that compute(v) returns, against central differences of the loss that it returns.
template <class Compute>
void check_derivative(const batch_buffer<double>& v, const Compute& compute) {
  const double h = 1e-5;
  std::vector<double> expected;
  double largest = 0;
  for (index_t i = 0; i < v.rows() * v.columns(); ++i) {
    auto up = v, down = v;
    up.view().data()[i] += h;
    down.view().data()[i] -= h;
    expected.push_back((compute(up).total.loss - compute(down).total.loss) / (2 * h));
    largest = std::max(largest, std::abs(expected.back()));
  }
  REQUIRE(largest > 0);
  // Central differences with h = 1e-5: h^2 times third derivatives and 2^-53 L / h.
  const auto computed = compute(v);
  CHECK(support::largest_difference(support::values_of(computed.gradient.view()), expected) <=
        2e-6 * largest);
}

template <class Objective>
void check_gradient(const support::row_problem<double>& of, const Objective& objective) {
  check_derivative(of.given.v, [&](const batch_buffer<double>& v) {
    return fused<double>(reference_backend{}, of, v, objective);
  });
  check_derivative(of.given.v, [&](const batch_buffer<double>& v) {
    return fused<double>(tempflow::cpu_backend(1), of, v, objective);
  });
}

support::row_problem<double> drawn() { return support::row_problem<double>(reference_backend{}, 5); }
support::row_problem<double> finished() { return support::row_problem<double>(reference_backend{}, 5, true); }

/// One and two calls, bit for bit.
template <class G, class T, class Objective>
void check_calls(bool of_finished, const Objective& objective) {
  const tempflow::cpu_backend backend(2);
  const support::row_problem<T> of(backend, 2500, of_finished);
  const auto one = fused<G>(backend, of, of.given.v, objective);
  const auto two = in_two_calls<G>(backend, of, of.given.v, objective);
  CHECK(support::same_bits(one.gradient, two.gradient));
  CHECK(support::same_numbers(one.rows, two.rows));
}

/// An objective that is chosen at run time.
struct guard_or_matching {
  tempflow::row_needs needs;
  bool guards;
  tempflow::grpo_guard guard = {};
  tempflow::advantage_weighted_matching matching = {};
  double kl_beta = 0;
  kl_denominator kl_over = {};

  explicit guard_or_matching(const tempflow::grpo_guard& of)
      : needs(of.needs), guards(true), guard(of), kl_over(of.kl_over) {}
  explicit guard_or_matching(const tempflow::advantage_weighted_matching& of)
      : needs(of.needs), guards(false), matching(of), kl_over(of.kl_over) {}

  tempflow::row_loss operator()(const tempflow::scored_row& row) const {
    return guards ? guard(row) : matching(row);
  }
  void validate() const { guards ? guard.validate() : matching.validate(); }
};

template <class Objective>
void check_chosen(bool of_finished, const Objective& objective) {
  const tempflow::cpu_backend backend(2);
  const support::row_problem<float> of(backend, 500, of_finished);
  const auto fixed = fused<float>(backend, of, of.given.v, objective);
  const auto chosen = fused<float>(backend, of, of.given.v, guard_or_matching(objective));
  CHECK(support::same_bits(fixed.gradient, chosen.gradient));
  CHECK(support::same_numbers(fixed.rows, chosen.rows));
  auto without = of;
  without.v_old = {};
  const auto call = [&] { return fused<float>(backend, without, of.given.v, guard_or_matching(objective)); };
  if (objective.needs.old_velocity) {
    CHECK_THROWS_AS(call(), tempflow::shape_error);
  } else {
    CHECK(support::same_bits(call().gradient, fixed.gradient));
  }
}

}  // namespace

TEST_CASE("an objective may say at run time what it needs", "[row-objective]") {
  check_chosen(false, tempflow::grpo_guard{.clip = {1e-3, 1e-3}});
  check_chosen(true, tempflow::advantage_weighted_matching{.clip = wide});
}

TEST_CASE("noising and cleaning transitions meet at x_t = (1 - t) x0 + t z", "[row-objective]") {
  const tempflow::transition there = tempflow::noising_transition(0.25);
  const tempflow::transition back = tempflow::clean_transition(0.25);
  CHECK(there.alpha == 0.75);
  CHECK(there.std == 0.25);
  const double x0 = 3, z = -2, x = there.alpha * x0 + there.std * z;
  CHECK(back.alpha * x + back.beta * (z - x0) == x0);  // by the velocity z - x0
  CHECK_THROWS_AS(tempflow::noising_transition(0), tempflow::schedule_error);
  CHECK_THROWS_AS(tempflow::noising_transition(1.5), tempflow::schedule_error);
}

TEST_CASE("the gradient of GRPO-Guard is the derivative of its loss", "[row-objective]") {
  check_gradient(drawn(), tempflow::grpo_guard{.clip = wide});
  check_gradient(drawn(), tempflow::grpo_guard{.clip = {1e-3, 2e-3}, .kl_beta = 0.3});
}

TEST_CASE("the gradient of Flow-DPPO is the derivative of its loss", "[row-objective]") {
  check_gradient(drawn(), tempflow::flow_dppo{.divergence_bound = 1});
  check_gradient(drawn(), tempflow::flow_dppo{.divergence_bound = 0, .kl_beta = 0.1});
}

TEST_CASE("the gradient of DiffusionNFT is the derivative of its loss, its weights held fixed",
          "[row-objective]") {
  // Weights that do not depend on v: the absolute errors are below their least value.
  check_gradient(finished(), tempflow::diffusion_nft{.mixture = 0.3, .min_weight = 1e3, .kl_beta = 0.01});
  check_gradient(finished(), tempflow::diffusion_nft{.min_weight = 1e3});
}

TEST_CASE("the gradient of AWM is the derivative of its loss for every weight", "[row-objective]") {
  for (const auto weight : {matching_weight::uniform, matching_weight::time, matching_weight::time_squared,
                            matching_weight::huber, matching_weight::quartic_root}) {
    check_gradient(finished(),
                   tempflow::advantage_weighted_matching{.clip = wide, .weight = weight, .kl_beta = 0.2});
  }
}

TEST_CASE("the gradient of an objective of one's own is the derivative of its loss", "[row-objective]") {
  check_gradient(drawn(), pulled_back{});
  check_gradient(drawn(), pulled_back{.pull = 3, .kl_beta = 0.2});
}

TEST_CASE("the gradient of the dual clip is the derivative of its loss", "[row-objective]") {
  const auto of = drawn();
  check_gradient(of, tempflow::dual_clipped_grpo{.clip = {1e-4, 1e-4}, .max_ratio = 1.001, .kl_beta = 0.1});
}

TEST_CASE("the gradients of sequences and pairs are the derivatives of their losses", "[row-objective]") {
  const auto of = drawn();
  std::vector<std::int64_t> sequences;
  for (std::size_t i = 0; i < of.given.rows.log_probs.size(); ++i)
    sequences.push_back(static_cast<std::int64_t>(i % 4));
  for (const auto ratio : {tempflow::sequence_ratio::mean, tempflow::sequence_ratio::mean_of_clipped}) {
    for (const clip_range clip : {wide, clip_range{1e-3, 1e-3}}) {
      const tempflow::sequence_grpo objective{
          .sequences = sequences, .clip = clip, .ratio = ratio, .kl_beta = 0.1};
      auto shared = of;  // steps of a sample share their advantage
      for (std::size_t i = 0; i < sequences.size(); ++i)
        shared.given.rows.advantages[i] = shared.given.rows.advantages[i % 4];
      check_derivative(of.given.v, [&](const batch_buffer<double>& v) {
        return in_two_calls<double>(reference_backend{}, shared, v, objective);
      });
    }
  }
  const auto samples = support::row_problem<double>(reference_backend{}, 5, true, {1, 1, 2, 1, 1, 1, 1});
  const std::vector<std::array<index_t, 2>> pairs{{{0, 5}}, {{2, 1}}, {{3, 4}}, {{7, 6}}};
  check_derivative(samples.given.v, [&](const batch_buffer<double>& v) {
    auto unweighted = samples;
    for (double& weight : unweighted.given.rows.weights) weight = 1;
    return in_two_calls<double>(reference_backend{}, unweighted, v,
                                tempflow::preference_pairs{.pairs = pairs, .beta = 30, .kl_beta = 0.1});
  });
}

TEMPLATE_TEST_CASE("a loss in two calls has the bits of one", "[row-objective]", float, bfloat16) {
  using gradient = tempflow::gradient_t<TestType>;
  check_calls<gradient, TestType>(false, tempflow::grpo_guard{.clip = {1e-3, 1e-3}, .kl_beta = 0.1});
  check_calls<gradient, TestType>(false, tempflow::flow_dppo{.kl_beta = 0.1});
  check_calls<gradient, TestType>(true, tempflow::diffusion_nft{.mixture = 0.5});
  check_calls<gradient, TestType>(true, tempflow::advantage_weighted_matching{});
}

TEST_CASE("an objective of the ratio has the numbers of its own kernel in two calls", "[row-objective]") {
  const tempflow::cpu_backend backend(2);
  const support::row_problem<float> of(backend, 2500);
  const tempflow::clipped_grpo objective{.clip = {1e-3, 1e-3}};
  const auto one = fused<float>(backend, of, of.given.v, objective);
  const auto two = in_two_calls<float>(backend, of, of.given.v, objective);
  CHECK(support::same_numbers(one.rows, two.rows));
  CHECK(support::same_bits(one.gradient, two.gradient));
}

TEMPLATE_TEST_CASE("on policy every ratio is exactly 1", "[row-objective]", float, bfloat16) {
  const tempflow::cpu_backend backend(2);
  const support::row_problem<TestType> of(backend, 3000);
  const support::row_problem<TestType> clean(backend, 3000, true);
  const auto guard = fused<float>(backend, of, of.v_old, tempflow::grpo_guard{.clip = {0, 0}});
  const auto dppo = fused<float>(backend, of, of.v_old, tempflow::flow_dppo{});
  const auto awm =
      fused<float>(backend, clean, clean.v_old, tempflow::advantage_weighted_matching{.clip = {0, 0}});
  for (const auto& out : {guard, dppo, awm}) {
    CHECK(out.total.max_abs_log_ratio == 0);
    CHECK(out.total.ratio_min == 1);
    CHECK(out.total.clip_fraction() == 0);
    CHECK(support::values_of(out.gradient.view()) !=
          std::vector<double>(static_cast<std::size_t>(out.gradient.rows() * out.gradient.columns())));
  }
}

TEST_CASE("GRPO-Guard's log-ratio is the centred one of its paper", "[row-objective]") {
  const auto of = drawn();
  std::vector<row_sums> sums(of.given.rows.log_probs.size());
  tempflow::policy_sums(reference_backend{}, of.batch(), of.given.v, {}, of.v_old, sums);
  const auto out = fused<double>(reference_backend{}, of, of.given.v, tempflow::grpo_guard{.clip = wide});
  std::size_t row = 0;
  for (std::size_t s = 0; s < of.given.counts.size(); ++s) {
    for (index_t k = 0; k < of.given.counts[s]; ++k, ++row) {
      const auto& step = of.given.steps[s];
      double shift = 0;  // mean((mu - mu_old)^2)
      for (index_t e = 0; e < 5; ++e) {
        const auto at = static_cast<index_t>(s);
        const double moved = step.beta * (of.given.v.view().row(at)[e] - of.v_old.view().row(at)[e]);
        shift += moved * moved / 5;
      }
      const double centred = step.std * (out.rows[row].log_ratio + shift / (2 * step.std * step.std));
      const double advantage = of.given.rows.advantages[row], weight = of.given.rows.weights[row];
      CHECK(out.rows[row].surrogate == Approx(-weight * advantage * std::exp(centred)).epsilon(1e-10));
    }
  }
}

TEST_CASE("DiffusionNFT's loss and gradient are those of its text", "[row-objective]") {
  const auto of = finished();
  const tempflow::diffusion_nft objective{.mixture = 0.4, .kl_beta = 0.05};
  const auto out = fused<double>(reference_backend{}, of, of.given.v, objective);
  const double b = 0.4, c = 5, count = static_cast<double>(out.rows.size());
  double loss = 0;
  batch_buffer<double> expected(of.given.states(), 5);
  std::size_t row = 0;
  for (std::size_t s = 0; s < of.given.counts.size(); ++s) {
    const auto at = static_cast<index_t>(s);
    const double t = of.given.steps[s].sigma;
    const double *const x = of.given.x.view().row(at), *const v = of.given.v.view().row(at),
                        *const old = of.v_old.view().row(at), *const ref = of.given.v_ref.view().row(at);
    for (index_t k = 0; k < of.given.counts[s]; ++k, ++row) {
      const double* const x0 = of.given.rows.y.view().row(static_cast<index_t>(row));
      const double p = std::min(std::max(of.given.rows.advantages[row] / c / 2 + 0.5, 0.0), 1.0);
      double absolute[2] = {}, square[2] = {}, kl = 0, error[2][5];
      for (index_t e = 0; e < 5; ++e) {
        const double plus = b * v[e] + (1 - b) * old[e], minus = (1 + b) * old[e] - b * v[e];
        error[0][e] = x[e] - t * plus - x0[e], error[1][e] = x[e] - t * minus - x0[e];
        for (int side = 0; side < 2; ++side) {
          absolute[side] += std::abs(error[side][e]) / 5;
          square[side] += error[side][e] * error[side][e] / 5;
        }
        kl += (v[e] - ref[e]) * (v[e] - ref[e]) / 5;
      }
      const double weight = of.given.rows.weights[row];
      loss +=
          (weight * c / b * (p * square[0] / absolute[0] + (1 - p) * square[1] / absolute[1]) + 0.05 * kl) /
          count;
      for (index_t e = 0; e < 5; ++e) {
        const double taught = -p * error[0][e] / absolute[0] + (1 - p) * error[1][e] / absolute[1];
        expected.view().row(at)[e] +=
            (weight * 2 * c * t / 5 * taught + 2 * 0.05 * (v[e] - ref[e]) / 5) / count;
      }
    }
  }
  CHECK(out.total.loss == Approx(loss).epsilon(1e-12));
  CHECK(support::largest_difference(support::values_of(out.gradient.view()),
                                    support::values_of(expected.view())) < 1e-13);
}

TEST_CASE("a row that is not finite is left out, and its siblings are not", "[row-objective]") {
  const tempflow::cpu_backend backend(1);
  support::row_problem<float> of(backend, 1500);
  const tempflow::grpo_guard objective{.clip = wide, .kl_beta = 0.1};
  auto alone = of;
  of.given.rows.y.view().row(1)[7] = std::numeric_limits<float>::quiet_NaN();
  alone.given.rows.weights[1] = 0;
  const auto broken = fused<float>(backend, of, of.given.v, objective);
  CHECK(broken.total.non_finite_rows == 1);
  CHECK(broken.rows[1].finite == 0);
  CHECK(!(broken.total.loss == broken.total.loss));  // and the mean loss shows it
  const tempflow::grpo_guard without_kl{.clip = wide};
  const auto left = fused<float>(backend, of, of.given.v, without_kl);
  const auto expected = fused<float>(backend, alone, of.given.v, without_kl);
  CHECK(support::same_bits(left.gradient, expected.gradient));
}

TEST_CASE("states and velocities of two storage types meet in a general loss", "[row-objective]") {
  const tempflow::cpu_backend backend(2);
  const support::row_problem<float> of(backend, 2500);
  const auto narrow = [](const batch_buffer<float>& wide_batch) {
    batch_buffer<bfloat16> to(wide_batch.rows(), wide_batch.columns());
    for (index_t i = 0; i < to.rows() * to.columns(); ++i)
      to.view().data()[i] = tempflow::store<bfloat16>(wide_batch.view().data()[i]);
    return to;
  };
  const auto widened = [](const batch_buffer<bfloat16>& from) {
    batch_buffer<float> to(from.rows(), from.columns());
    for (index_t i = 0; i < to.rows() * to.columns(); ++i)
      to.view().data()[i] = tempflow::load(from.view().data()[i]);
    return to;
  };
  const auto v = narrow(of.given.v), v_ref = narrow(of.given.v_ref), v_old = narrow(of.v_old);
  const tempflow::grpo_guard objective{.clip = wide, .kl_beta = 0.1};
  batch_buffer<float> mixed(v.rows(), v.columns());
  tempflow::policy_loss(backend, of.batch(), v, v_ref, v_old, objective, mixed);
  auto same = of;
  same.given.v_ref = widened(v_ref), same.v_old = widened(v_old);
  const auto expected = fused<float>(backend, same, widened(v), objective);
  CHECK(support::same_bits(mixed, expected.gradient));
}
