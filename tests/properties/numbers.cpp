// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Guidance, averages of weights, advantages and summaries, against the same written out in long double.

#include <algorithm>
#include <map>
#include <utility>

#include "properties/bounds.hpp"
#include "properties/exact_guidance.hpp"
#include "properties/property.hpp"
#include "tempflow/compiled.hpp"
#include "tempflow/ops/ema_update.hpp"
#include "tempflow/ops/group_advantages.hpp"
#include "tempflow/ops/summarize.hpp"

namespace properties {
namespace {

/// Moderate elements: norms are within fp32, squares of small ones too.
template <class T>
batch_buffer<T> predictions(draw& source, index_t rows, index_t columns) {
  const double scale =
      std::is_same_v<T, float16> ? source.magnitude(1e-2, 1e2) : source.magnitude(1e-10, 1e10);
  return support::random_batch<T>(rows, columns, source.bits(), scale);
}

template <class T>
void check_guidance(draw& source) {
  const index_t channels = source.once_in(2) ? 0 : source.one_of<index_t>({1, 4, 16, 33, 64, 1025}),
                rows = source.between(1, 4),
                columns =
                    channels == 0 ? source.columns() : channels * source.between(1, 2000 / channels + 1);
  auto c = predictions<T>(source, rows, columns), u = predictions<T>(source, rows, columns),
       g = predictions<T>(source, rows, columns);
  std::vector<double> scales;
  for (index_t i = 0; i < rows; ++i) scales.push_back(source.one_of({0.0, 1.0, 4.5, source.uniform(-2, 10)}));
  guided_batch<T> batch{channels, std::move(scales), std::move(c), std::move(u), std::move(g)};
  batch.compute(plain_cpu());
  batch.check("cpu");

  placed<T> other(source, rows, columns), other_c(source, rows, columns), other_u(source, rows, columns);
  placed<T> placed_c(source, batch.c.view()), placed_u(source, batch.u.view()),
      placed_g(source, batch.g.view());
  const tempflow::guidance_options options{.scale = batch.scales, .channels = channels};
  const auto& cpu = source.cpu();
  tempflow::guide(cpu, placed_c.view(), placed_u.view(), options, other.view());
  tempflow::guide_gradient(cpu, placed_g.view(), placed_c.view(), placed_u.view(), options, other_c.view(),
                           other_u.view());
  const auto is_same = [](placed<T>& a, const batch_buffer<T>& b) {
    return same_bits(batch_view<const T>(a), b.view()) && a.is_whole();
  };
  require(is_same(other, batch.guided) && is_same(other_c, batch.of_c) && is_same(other_u, batch.of_u),
          "other bits in another layout");

  batch.compute(reference_backend{});
  batch.check("reference");
}

template <class T>
void check_average(draw& source) {
  const index_t count = source.once_in(8) ? source.between(30'000, 40'000) : source.between(1, 300);
  const double scale = std::is_same_v<T, float16> ? 10 : source.magnitude(1e-15, 1e15);
  auto average = support::random_batch<T>(1, count, source.bits(), scale);
  const auto before = average, weights = support::random_batch<T>(1, count, source.bits(), scale);
  const double decay = source.one_of({0.0, 1.0, 0.9, 0.99999, source.uniform(0, 1)});
  const auto span = [](auto&& batch, index_t n) { return std::span(batch.view().data(), at(n)); };
  auto reference = before, other = before;
  tempflow::ema_update(plain_cpu(), span(average, count), span(weights, count), decay);
  tempflow::ema_update(source.cpu(), span(other, count), span(weights, count), decay);
  tempflow::ema_update(reference_backend{}, span(reference, count), span(weights, count), decay);
  require(same_bits(average, other), "other bits on another backend");
  for (index_t e = 0; e < count; ++e) {
    const bounded of =
        affine<T>(0, decay, value_of(before.view().data()[e]), 1 - decay, value_of(weights.view().data()[e]));
    for (const T found : {average.view().data()[e], reference.view().data()[e]}) {
      require(is_stored<T, T>(found, of), "element ", e, " with decay ", decay, " is ", value_of(found),
              ", expected ", of.value, " +- ", of.error);
    }
  }
}

/// Advantages as their definition says, in long double; the same bits in another order and on all backends.
void check_advantages(draw& source) {
  const index_t count = source.between(2, 60);
  const double scale = source.magnitude(1e-15, 1e15),
               offset = source.once_in(2) ? 0 : source.signed_magnitude(1e-3, 1e3) * scale;
  const bool coarse = source.once_in(3);  // with rewards that are equal
  std::vector<double> rewards;
  std::vector<std::int64_t> groups;
  for (index_t i = 0; i < count; ++i) {
    rewards.push_back(offset +
                      scale * (coarse ? static_cast<double>(source.between(0, 2)) : source.uniform(-1, 1)));
    groups.push_back(source.between(0, 5) * 1'000'003 - 7);
  }
  groups[1] = groups[0];
  tempflow::advantage_options options;
  options.scale = source.one_of({tempflow::advantage_scale::group_std, tempflow::advantage_scale::global_std,
                                 tempflow::advantage_scale::none});
  options.std = source.one_of({tempflow::std_estimate::population, tempflow::std_estimate::sample});
  options.epsilon_as = source.one_of({tempflow::epsilon_rule::add, tempflow::epsilon_rule::floor});
  options.epsilon = source.one_of({0.0, 1e-4, 1e-8}) * (source.once_in(2) ? scale : 1);
  if (source.once_in(3)) {
    options.not_finite = tempflow::not_finite_rewards::exclude;
    for (index_t i = 2; i < count; ++i) {
      if (source.once_in(6))
        rewards[at(i)] = source.one_of(
            {tempflow::not_a_number, tempflow::positive_infinity, -tempflow::positive_infinity});
    }
  }
  const auto found = tempflow::group_advantages(rewards, groups, options);
  std::vector<double> on_backend(at(count));
  for (int k = 0; k < 2; ++k) {
    if (k == 0)
      tempflow::group_advantages(reference_backend{}, std::span<const double>(rewards), groups, options,
                                 on_backend);
    if (k == 1)
      tempflow::group_advantages(source.cpu(), std::span<const double>(rewards), groups, options, on_backend);
    require(same_bits(on_backend, found.values), "other bits on a backend");
  }
  std::vector<index_t> order;
  for (index_t i = 0; i < count; ++i) order.push_back(i);
  for (index_t i = count - 1; i > 0; --i) std::swap(order[at(i)], order[at(source.between(0, i))]);
  std::vector<double> other_rewards;
  std::vector<std::int64_t> other_groups;
  for (const index_t i : order)
    other_rewards.push_back(rewards[at(i)]), other_groups.push_back(groups[at(i)]);
  const auto other = tempflow::group_advantages(other_rewards, other_groups, options);
  for (index_t i = 0; i < count; ++i)
    require(other.values[at(i)] == found.values[at(order[at(i)])], "sample ", order[at(i)],
            " differs in another order");

  const auto std_of = [&](const std::vector<long double>& of, long double mean) {
    long double squares = 0;
    for (const long double r : of) squares += (r - mean) * (r - mean);
    const auto n = static_cast<long double>(of.size());
    const long double divisor = options.std == tempflow::std_estimate::population ? n : n - 1;
    return divisor > 0 ? std::sqrt(squares / divisor) : 0;
  };
  const auto mean_of = [](const std::vector<long double>& of) {
    long double sum = 0;
    for (const long double r : of) sum += r;
    return of.empty() ? 0 : sum / static_cast<long double>(of.size());
  };
  std::map<std::int64_t, std::vector<long double>> members;
  std::vector<long double> all;
  for (index_t i = 0; i < count; ++i) {
    if (!tempflow::is_finite(rewards[at(i)])) continue;
    all.push_back(rewards[at(i)]), members[groups[at(i)]].push_back(rewards[at(i)]);
  }
  const long double global_std = std_of(all, mean_of(all));
  const double largest = std::abs(offset) + 3 * scale;
  for (index_t i = 0; i < count; ++i) {
    const double advantage = found.values[at(i)];
    const auto& own = members[groups[at(i)]];
    const bool excluded = !tempflow::is_finite(rewards[at(i)]);
    const bool equal =
        excluded || std::all_of(own.begin(), own.end(), [&](long double r) { return r == own.front(); });
    if (equal) {
      require(advantage == 0, "sample ", i, " has an advantage of ", advantage);
      continue;
    }
    const long double mean = mean_of(own), std = options.scale == tempflow::advantage_scale::group_std
                                                     ? std_of(own, mean)
                                                     : global_std;
    long double divisor = options.epsilon_as == tempflow::epsilon_rule::add
                              ? std + options.epsilon
                              : std::max<long double>(std, options.epsilon);
    if (options.scale == tempflow::advantage_scale::none) divisor = 1;
    const long double expected = (rewards[at(i)] - mean) / divisor;
    // The mean and the differences are rounded to double, relative to the rewards; so is what they are divided by.
    const long double rounding = 8 * 0x1p-53L * largest;
    const long double error = rounding / divisor + std::abs(expected) * (rounding / divisor + 16 * 0x1p-53L);
    require(std::abs(advantage - expected) <= error, "the advantage of sample ", i, " is ", advantage,
            ", expected ", static_cast<double>(expected), " +- ", static_cast<double>(error));
  }
}

/// The summary of rows, whole or joined from parts, and on a backend.
void check_summaries(draw& source) {
  const index_t count = source.between(1, 200);
  std::vector<tempflow::policy_row> rows;
  for (index_t i = 0; i < count; ++i) {
    tempflow::policy_row row;
    row.log_ratio = source.once_in(4) ? 0 : source.signed_magnitude(1e-9, 3),
    row.ratio = std::exp(row.log_ratio);
    row.surrogate = source.uniform(-3, 3), row.kl = source.magnitude(1e-9, 1),
    row.log_prob = source.uniform(-5, 5);
    row.below = source.once_in(4) ? 1 : 0, row.above = row.below == 0 && source.once_in(4) ? 1 : 0;
    row.underflowed = source.once_in(9) ? 1 : 0;
    if (source.once_in(9)) row.finite = 0;
    rows.push_back(row);
  }
  const double beta = source.uniform(0, 1), over = source.one_of({1.0, 7.0, static_cast<double>(count)});
  const std::span<const tempflow::policy_row> all(rows);
  const auto whole = tempflow::summarize(all, beta, over);
  long double loss = 0, kl = 0, ratio = 0, below = 0, finite = 0, k2 = 0, lowest = HUGE_VALL, largest = 0;
  for (const auto& row : rows) {
    loss += row.surrogate + static_cast<long double>(beta) * row.kl;
    if (row.finite == 0) continue;
    ++finite, kl += row.kl, ratio += row.ratio, below += row.below, k2 += row.log_ratio * row.log_ratio / 2;
    lowest = std::min<long double>(lowest, row.ratio),
    largest = std::max<long double>(largest, std::abs(row.log_ratio));
  }
  const auto near = [&](const char* name, double found, long double expected) {
    require(std::abs(found - expected) <= 1e-13L * (std::abs(expected) + static_cast<long double>(count)),
            name, " is ", found, ", expected ", static_cast<double>(expected));
  };
  const auto check = [&](const tempflow::policy_statistics& of) {
    const long double n = finite > 0 ? finite : 1;
    near("loss", of.loss, loss / over), near("kl", of.kl, kl / n),
        near("ratio_mean", of.ratio_mean, ratio / n);
    near("fraction_below", of.fraction_below, below / n), near("approx_kl", of.approx_kl, k2 / n);
    require(of.rows == count && of.finite_rows() == static_cast<index_t>(finite), "rows");
    if (finite > 0)
      require(
          of.ratio_min == static_cast<double>(lowest) && of.max_abs_log_ratio == static_cast<double>(largest),
          "extremes");
  };
  check(whole);
  const std::size_t cut = at(source.between(0, count));
  auto joined = tempflow::summarize(all.first(cut), beta, over);
  joined += tempflow::summarize(all.subspan(cut), beta, over);
  check(joined);
  tempflow::policy_statistics there;
  tempflow::summarize(source.cpu(), all, beta, over, there);
  require(there.loss == whole.loss && there.kl == whole.kl && there.ratio_mean == whole.ratio_mean,
          "other bits on a backend");
}

const property guidance("guidance and its gradient", [](draw& source) {
  with_storage(source, [&]<class T>() { check_guidance<T>(source); });
});
const property averages("averages of weights", [](draw& source) {
  with_storage(source, [&]<class T>() { check_average<T>(source); });
});
const property advantages("group advantages", check_advantages);
const property summaries("summaries of rows", check_summaries);

}  // namespace
}  // namespace properties
