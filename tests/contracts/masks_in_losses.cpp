// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Losses of which a mask leaves elements out, losses of rows that lie in several shards, and the same bits however they
// are computed.

#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/masks.hpp"
#include "support/row_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"
#include "tempflow/ops/policy_gradient.hpp"
#include "tempflow/ops/policy_loss.hpp"

using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::element_mask;
using tempflow::index_t;
using tempflow::policy_row;
using tempflow::row_sums;

namespace {

/// The elements that count, packed: the batch as it were without the others.
template <class T>
batch_buffer<T> packed(const batch_buffer<T>& from, const support::mask_bytes& mask, index_t kept) {
  batch_buffer<T> to(from.rows(), kept);
  for (index_t i = 0; i < from.rows(); ++i) {
    index_t at = 0;
    for (index_t e = 0; e < from.columns(); ++e) {
      if (mask.counts(0, e)) to.view().row(i)[at++] = from.view().row(i)[e];
    }
  }
  return to;
}

template <class G, class B, class T, class Objective>
support::loss_outcome<G> loss_of(const B& backend, const support::row_problem<T>& of,
                                 const Objective& objective, element_mask mask) {
  auto batch = of.batch();
  batch.mask = mask;
  support::loss_outcome<G> out{batch_buffer<G>(of.given.states(), of.given.x.columns()),
                               std::vector<policy_row>(of.given.rows.log_probs.size()),
                               {}};
  const std::span<policy_row> rows(out.rows);
  if constexpr (tempflow::row_objective<Objective>) {
    out.total = tempflow::policy_loss(backend, batch, of.given.v, of.given.v_ref, of.v_old, objective,
                                      out.gradient, rows);
  } else {
    out.total = tempflow::policy_loss(backend, batch, of.given.v, of.given.v_ref, {},
                                      tempflow::as_row_objective(objective), out.gradient, rows);
  }
  return out;
}

const tempflow::clipped_grpo clipped{.clip = {0.01, 0.01}, .kl_beta = 0.1};
const tempflow::grpo_guard guard{.clip = {0.01, 0.01}, .kl_beta = 0.1};
const tempflow::diffusion_nft nft{.mixture = 0.5, .kl_beta = 0.1};

template <class G>
void check_same(const support::loss_outcome<G>& a, const support::loss_outcome<G>& b) {
  CHECK(support::same_bits(a.gradient, b.gradient));
  CHECK(support::same_numbers(a.rows, b.rows));
}

}  // namespace

TEST_CASE("a masked loss is that of the elements that count, whatever the others hold", "[mask]") {
  constexpr index_t columns = 23;
  const tempflow::reference_backend reference;
  const support::mask_bytes bytes(1, columns, 5);
  const element_mask mask = bytes;
  const index_t kept = mask.count(0);
  REQUIRE(kept < columns);
  const auto check = [&](const auto& objective, bool finished) {
    support::row_problem<double> of(reference, columns, finished);
    auto part = of;
    part.given.x = packed(of.given.x, bytes, kept), part.given.v = packed(of.given.v, bytes, kept);
    part.given.v_ref = packed(of.given.v_ref, bytes, kept), part.v_old = packed(of.v_old, bytes, kept);
    part.given.rows.y = packed(of.given.rows.y, bytes, kept);
    for (auto* batch : {&of.given.x, &of.given.v, &of.given.v_ref, &of.v_old, &of.given.rows.y})
      *batch = support::poisoned(*batch, bytes);
    const auto expected = loss_of<double>(reference, part, objective, {});
    const auto masked = loss_of<double>(reference, of, objective, mask);
    CHECK(masked.total.non_finite_rows == 0);
    CHECK(masked.total.loss == Approx(expected.total.loss).epsilon(1e-12));
    const auto of_kept = packed(masked.gradient, bytes, kept);
    CHECK(support::largest_difference(support::values_of(of_kept.view()),
                                      support::values_of(expected.gradient.view())) < 1e-14);
    for (index_t i = 0; i < of.given.states(); ++i) {
      for (index_t e = 0; e < columns; ++e) {
        if (!bytes.counts(0, e)) CHECK(masked.gradient.view().row(i)[e] == 0);
      }
    }
  };
  check(clipped, false);
  check(guard, false);
  check(nft, true);
}

TEMPLATE_TEST_CASE("a mask that leaves nothing out has the bits of none", "[mask]", float, bfloat16) {
  const cpu_backend backend(2);
  const support::row_problem<TestType> drawn(backend, 2500), finished(backend, 2500, true);
  const std::vector<std::uint8_t> ones(2500, 1);
  const element_mask all(ones.data(), 1, 2500);
  check_same(loss_of<float>(backend, drawn, guard, all), loss_of<float>(backend, drawn, guard, {}));
  check_same(loss_of<float>(backend, finished, nft, all), loss_of<float>(backend, finished, nft, {}));
  tempflow::clipped_grpo plain{.clip = {0.01, 0.01}};
  check_same(loss_of<float>(backend, drawn, plain, all), loss_of<float>(backend, drawn, plain, {}));
}

TEMPLATE_TEST_CASE("general losses have the same bits for any threads, split and instructions", "[mask]",
                   float, bfloat16) {
  constexpr index_t columns = 33000;  // rows that are cut in parts for threads
  const std::vector<index_t> counts{2, 1, 0, 3};
  const cpu_backend one(1);
  const support::row_problem<TestType> drawn(one, columns, false, counts),
      finished(one, columns, true, counts);
  const support::mask_bytes bytes(4, columns, 5);
  for (const element_mask mask : {element_mask(), bytes.view()}) {
    const auto expected = loss_of<TestType>(one, drawn, guard, mask);
    const auto expected_nft = loss_of<TestType>(one, finished, nft, mask);
    for (const index_t threads : {2, 3, 8}) {
      check_same(loss_of<TestType>(cpu_backend(threads), drawn, guard, mask), expected);
      check_same(loss_of<TestType>(cpu_backend(threads), finished, nft, mask), expected_nft);
    }
    for (const auto instructions : {tempflow::instruction_set::portable, tempflow::instruction_set::avx2}) {
      if (instructions > tempflow::best_instruction_set()) continue;
      const cpu_backend in(1, instructions);
      check_same(loss_of<TestType>(in, drawn, guard, mask), expected);
      check_same(loss_of<TestType>(in, finished, nft, mask), expected_nft);
    }
  }
}

TEST_CASE("the sums of shards add up to those of rows, and their gradients are the rows'", "[shards]") {
  constexpr index_t columns = 3000, cuts[] = {0, 700, 1900, columns};
  const cpu_backend backend(1);
  const support::row_problem<float> of(backend, columns);
  const auto whole = of.batch();
  const auto count = of.given.rows.log_probs.size();
  std::vector<row_sums> expected(count), total(count), sums(count);
  tempflow::policy_sums(backend, whole, of.given.v, of.given.v_ref, of.v_old, expected);
  const auto shard = [&](const batch_buffer<float>& batch, int s) {
    return batch.view().columns(cuts[s], cuts[s + 1] - cuts[s]);
  };
  const auto batch_of = [&](int s) {
    auto part = whole;
    part.x = shard(of.given.x, s), part.y = shard(of.given.rows.y, s);
    return part;
  };
  for (int s = 0; s < 3; ++s) {
    tempflow::policy_sums(backend, batch_of(s), shard(of.given.v, s), shard(of.given.v_ref, s),
                          shard(of.v_old, s), sums);
    for (std::size_t i = 0; i < count; ++i) total[i] += sums[i];
  }
  const auto near = [](double a, double b, double scale) { return std::abs(a - b) <= 80 * 0x1p-24 * scale; };
  for (std::size_t i = 0; i < count; ++i) {
    CHECK(total[i].elements == columns);
    CHECK(near(total[i].residual, expected[i].residual, expected[i].residual));
    CHECK(near(total[i].reference, expected[i].reference, expected[i].reference));
    CHECK(near(total[i].old, expected[i].old, expected[i].old));
    const double crossed = std::sqrt(expected[i].residual * expected[i].old);
    CHECK(near(total[i].residual_old, expected[i].residual_old, crossed));
  }
  // One gradient from the same factors, in one piece and in three.
  std::vector<policy_row> rows(count);
  std::vector<tempflow::row_factors> factors(count);
  tempflow::policy_scores(whole, guard, std::span<const row_sums>(total), std::span<policy_row>(rows),
                          std::span<tempflow::row_factors>(factors));
  batch_buffer<float> in_one(of.given.states(), columns), in_three(of.given.states(), columns);
  tempflow::policy_gradient(backend, whole, of.given.v, of.given.v_ref, of.v_old, factors, in_one);
  for (int s = 0; s < 3; ++s) {
    tempflow::policy_gradient(backend, batch_of(s), shard(of.given.v, s), shard(of.given.v_ref, s),
                              shard(of.v_old, s), factors,
                              in_three.view().columns(cuts[s], cuts[s + 1] - cuts[s]));
  }
  CHECK(support::same_bits(in_one, in_three));
}

TEST_CASE("old log-probs of shards that are scored as in training give a ratio of exactly 1", "[shards]") {
  constexpr index_t columns = 3000, cut = 1100;
  const cpu_backend backend(1);
  support::row_problem<bfloat16> of(backend, columns);
  auto whole = of.batch();
  const auto count = of.given.rows.log_probs.size();
  const auto scored = [&] {
    std::vector<row_sums> total(count), sums(count);
    for (const auto& [first, length] : {std::pair(index_t{0}, cut), std::pair(cut, columns - cut)}) {
      auto part = whole;
      part.x = of.given.x.view().columns(first, length),
      part.y = of.given.rows.y.view().columns(first, length);
      tempflow::policy_sums(backend, part, of.v_old.view().columns(first, length), {}, {}, sums);
      for (std::size_t i = 0; i < count; ++i) total[i] += sums[i];
    }
    return total;
  };
  const auto rollout = scored(), training = scored();
  std::vector<double> old(count);
  for (std::size_t s = 0, row = 0; s < of.given.counts.size(); ++s) {
    for (index_t k = 0; k < of.given.counts[s]; ++k, ++row)
      old[row] = tempflow::gaussian_log_prob(rollout[row].residual, of.given.steps[s], columns);
  }
  whole.old_log_probs = old;
  std::vector<policy_row> rows(count);
  std::vector<tempflow::row_factors> factors(count);
  tempflow::policy_scores(whole, tempflow::clipped_grpo{.clip = {0, 0}}, std::span<const row_sums>(training),
                          std::span<policy_row>(rows), std::span<tempflow::row_factors>(factors));
  for (const policy_row& row : rows) CHECK(row.log_ratio == 0);
}

TEST_CASE("a ratio of all parts of a row has the gradient that its parts' slopes add up to", "[parts]") {
  constexpr index_t columns = 7, cut = 4;
  const tempflow::reference_backend backend;
  support::row_problem<double> of(backend, columns, false, {1, 1, 1});
  const double weights[] = {0.6, 0.4};
  const auto part_of = [&](int p) {
    auto batch = of.batch();
    const index_t first = p == 0 ? 0 : cut, length = p == 0 ? cut : columns - cut;
    batch.x = of.given.x.view().columns(first, length),
    batch.y = of.given.rows.y.view().columns(first, length);
    return batch;
  };
  const auto columns_of = [&](auto view, int p) {
    return view.columns(p == 0 ? 0 : cut, p == 0 ? cut : columns - cut);
  };
  const auto joint = [&](const batch_buffer<double>& v) {
    std::vector<double> sum(3), log_probs(3);
    for (int p = 0; p < 2; ++p) {
      tempflow::log_prob(backend, part_of(p), columns_of(v.view(), p), log_probs);
      for (std::size_t i = 0; i < 3; ++i) sum[i] += weights[p] * log_probs[i];
    }
    return sum;
  };
  const auto old = joint(of.v_old);
  const auto loss = [&](const batch_buffer<double>& v) {  // the ratio of the whole, times its advantage
    double mean = 0;
    const auto now = joint(v);
    for (std::size_t i = 0; i < 3; ++i) mean -= of.given.rows.advantages[i] * std::exp(now[i] - old[i]) / 3;
    return mean;
  };
  batch_buffer<double> gradient(3, columns);
  const auto now = joint(of.given.v);
  for (int p = 0; p < 2; ++p) {
    std::vector<double> factors;
    for (std::size_t i = 0; i < 3; ++i)
      factors.push_back(-of.given.rows.advantages[i] * std::exp(now[i] - old[i]) * weights[p] / 3);
    CHECK(tempflow::log_prob_gradient(backend, part_of(p), columns_of(of.given.v.view(), p), factors,
                                      columns_of(gradient.view(), p)) == 0);
  }
  for (index_t i = 0; i < 3 * columns; ++i) {
    auto up = of.given.v, down = of.given.v;
    up.view().data()[i] += 1e-5, down.view().data()[i] -= 1e-5;
    CHECK(gradient.view().data()[i] == Approx((loss(up) - loss(down)) / 2e-5).margin(1e-8));
  }
}

TEST_CASE("squared errors have a gradient where a step draws no noise", "[log_prob]") {
  const tempflow::reference_backend backend;
  const support::row_problem<double> of(backend, 5, true, {1, 1});
  const std::vector<double> factors{1, -2};
  batch_buffer<double> gradient(2, 5);
  CHECK(tempflow::log_prob_gradient(backend, of.batch(), of.given.v, factors, gradient) == 0);
  for (index_t i = 0; i < 2; ++i) {
    const double t = of.given.steps[static_cast<std::size_t>(i)].sigma;
    for (index_t e = 0; e < 5; ++e) {
      const double r =
          of.given.rows.y.view().row(i)[e] - of.given.x.view().row(i)[e] + t * of.given.v.view().row(i)[e];
      CHECK(gradient.view().row(i)[e] == Approx(factors[static_cast<std::size_t>(i)] * -2 * t * r / 5));
    }
  }
}
