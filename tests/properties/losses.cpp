// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Losses and their gradients, in the order in which errors could grow: the sums of a row against exact ones, the gradient
// of given factors against the exact one, and then, bit for bit, one call against two, siblings against rows, and any
// layout, threads and instructions against the plain ones.

#include <algorithm>

#include "properties/exact_rows.hpp"
#include "properties/objectives.hpp"
#include "properties/problem.hpp"
#include "properties/property.hpp"
#include "properties/rows.hpp"
#include "tempflow/compiled.hpp"
#include "tempflow/ops/log_prob_gradient.hpp"

namespace properties {
namespace {

bool same_sums(std::span<const row_sums> a, std::span<const row_sums> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// Marks of the rows that a gradient left out, and their scores did not.
std::vector<policy_row> overflowed(std::vector<policy_row> scored, const std::vector<policy_row>& concluded) {
  for (std::size_t i = 0; i < scored.size(); ++i)
    scored[i].finite = scored[i].finite != 0 && concluded[i].finite == 0 ? 0 : 1;
  return scored;
}

/// Factors as a loss has them, or anything.
std::vector<row_factors> random_factors(draw& source, index_t rows) {
  std::vector<row_factors> factors;
  const double most = source.magnitude(1e-12, 1e12);
  const auto factor = [&] { return source.once_in(4) ? 0 : source.signed_magnitude(1e-3 * most, most); };
  for (index_t i = 0; i < rows; ++i) factors.push_back({factor(), factor(), factor()});
  return factors;
}

template <class T, class V, class G>
void check_sums_and_gradients(draw& source) {
  const problem<T, V> of(source, source.once_in(3));
  const index_t rows = of.rows();
  const double mixture = source.once_in(2) ? 0 : source.magnitude(1e-2, 1e1);
  const auto factors = random_factors(source, rows);
  std::vector<row_sums> sums(at(rows)), other_sums(at(rows));
  std::vector<policy_row> marks(at(rows)), other_marks(at(rows));
  batch_buffer<G> gradient(of.states, of.columns);

  tempflow::policy_sums(plain_cpu(), of.batch(), of.v, of.v_ref, of.v_old, sums, mixture);
  tempflow::policy_gradient(plain_cpu(), of.batch(), of.v, of.v_ref, of.v_old, factors, gradient, marks);
  check_sums("cpu", of, std::span<const row_sums>(sums), mixture);
  check_gradient<T, V, G>("cpu", of, factors, gradient, marks);

  // Anywhere in memory, on any backend.
  const tempflow::cpu_backend& cpu = source.cpu();
  placed<T> x(source, of.x.view()), y(source, of.y.view());
  placed<V> v(source, of.v.view()), v_ref(source, of.v_ref.view()), v_old(source, of.v_old.view());
  placed<G> other_gradient(source, of.states, of.columns);
  auto batch = of.batch();
  batch.x = x.view(), batch.y = y.view();
  tempflow::policy_sums(cpu, batch, v.view(), v_ref.view(), v_old.view(), other_sums, mixture);
  tempflow::policy_gradient(cpu, batch, v.view(), v_ref.view(), v_old.view(), factors, other_gradient.view(),
                            other_marks);
  require(same_sums(sums, other_sums), "sums have other bits in another layout");
  require(same_bits(batch_view<const G>(other_gradient), batch_view<const G>(gradient)) &&
              other_gradient.is_whole(),
          "gradients have other bits in another layout");

  if constexpr (std::is_same_v<T, V>) {
    const reference_backend reference;
    std::fill(marks.begin(), marks.end(), policy_row{});
    tempflow::policy_sums(reference, of.batch(), of.v, of.v_ref, of.v_old, sums, mixture);
    tempflow::policy_gradient(reference, of.batch(), of.v, of.v_ref, of.v_old, factors, gradient, marks);
    check_sums("reference", of, std::span<const row_sums>(sums), mixture);
    check_gradient<T, V, G>("reference", of, factors, gradient, marks);
  } else {
    const auto wide = converted<T>(of.v), wide_ref = converted<T>(of.v_ref),
               wide_old = converted<T>(of.v_old);
    tempflow::policy_sums(plain_cpu(), of.batch(), wide, wide_ref, wide_old, other_sums, mixture);
    require(same_sums(sums, other_sums), "sums have other bits with velocities in the type of the states");
  }
}

/// Makes old log-probs of the rollout's policy, a little or far away.
template <class T, class V>
void score_old(draw& source, problem<T, V>& of) {
  of.old.assign(at(of.rows()), 0.0);
  if (of.rows() == 0) return;
  tempflow::log_prob(plain_cpu(), of.batch(), of.v_old, of.old);
  const double away = source.one_of({0.0, 1e-4, 1e-1, 10.0});
  for (double& old : of.old) {
    old += away * source.uniform(-1, 1);
    if (!tempflow::is_finite(old)) old = 0;
  }
}

/// An objective of a row's means: one call is two, in any layout, and its gradient is that of its factors.
template <class T, class V, class G>
struct check_objective {
  draw& source;
  problem<T, V>& of;

  void operator()(const chosen_objective& objective) const {
    const index_t rows = of.rows();
    auto batch = of.batch();
    batch.gradient_scale = source.one_of({1.0, 1024.0, 1e-3}),
    batch.mean_over = source.one_of<index_t>({0, 1, 1000});
    const bool has_reference = objective.kl_beta != 0 || source.once_in(2);
    const auto v_ref = has_reference ? batch_view<const V>(of.v_ref) : batch_view<const V>();

    std::vector<policy_row> one(at(rows)), two(at(rows));
    batch_buffer<G> gradient(of.states, of.columns), other(of.states, of.columns);
    std::vector<row_sums> sums(at(rows));
    std::vector<row_factors> factors(at(rows));
    const auto call = [&](const auto& backend, batch_view<G> to, std::span<policy_row> numbers) {
      return tempflow::policy_loss(backend, batch, of.v, v_ref, of.v_old, objective, to, numbers);
    };
    const auto total = call(plain_cpu(), gradient, one);
    check_rows(one, of.old, objective.needs.ratio);
    check_all_finite(gradient);
    tempflow::policy_sums(source.cpu(), batch, of.v, v_ref, of.v_old, sums,
                          tempflow::detail::mixture_of(objective));
    tempflow::policy_scores<G>(batch, objective, std::span<const row_sums>(sums), std::span<policy_row>(two),
                               std::span<row_factors>(factors));
    const auto scored = two;
    tempflow::policy_gradient(source.cpu(), batch, of.v, v_ref, of.v_old, factors, other, two);
    require(same_bits(gradient, other), "one call and two have other gradients");
    require(same_rows(one, two), "one call and two have other rows");
    auto with_reference = problem<T, V>(of);
    if (!has_reference) with_reference.v_ref = of.v;  // any: it has no factor
    check_gradient<T, V, G>("cpu", with_reference, factors, gradient, overflowed(scored, one));

    placed<G> elsewhere(source, of.states, of.columns);
    const auto again = call(source.cpu(), elsewhere, two);
    require(same_bits(batch_view<const G>(elsewhere), batch_view<const G>(gradient)) && same_rows(one, two) &&
                elsewhere.is_whole(),
            "a loss has other bits in another layout");
    require(same_rows({policy_row{.surrogate = total.loss}}, {policy_row{.surrogate = again.loss}}),
            "the mean losses differ");
    check_alone(batch, v_ref, objective, gradient, one);
  }

  /// A state and its rows have the bits that they have without the others.
  void check_alone(const tempflow::policy_batch<T>& batch, batch_view<const V> v_ref,
                   const chosen_objective& objective, const batch_buffer<G>& gradient,
                   const std::vector<policy_row>& all) const {
    const index_t s = source.between(0, of.states - 1), first = of.offsets[at(s)], count = of.counts[at(s)];
    auto lone = batch;
    const std::vector<index_t> offsets{0, count};
    const auto part = [&](const auto& numbers) { return std::span(numbers).subspan(at(first), at(count)); };
    lone.x = batch.x.slice(s, 1), lone.y = batch.y.slice(first, count), lone.offsets = offsets;
    lone.transitions = of.steps[at(s)];
    if (of.mask_rows != 0) lone.mask = {batch.mask.row(s), 1, of.columns};
    lone.old_log_probs = part(of.old), lone.advantages = part(of.advantages), lone.weights = part(of.weights);
    if (lone.mean_over == 0) lone.mean_over = (std::max<index_t>)(1, of.rows());
    batch_buffer<G> own(1, of.columns);
    std::vector<policy_row> rows(at(count));
    tempflow::policy_loss(source.cpu(), lone, of.v.view().slice(s, 1),
                          v_ref.empty() ? v_ref : v_ref.slice(s, 1), of.v_old.view().slice(s, 1), objective,
                          own, std::span(rows));
    require(same_bits(own.view(), gradient.view().slice(s, 1)), "state ", s, " has another gradient alone");
    require(same_rows(rows, {all.begin() + first, all.begin() + first + count}), "state ", s,
            " has other rows alone");
  }
};

template <class T, class V, class G>
void check_losses(draw& source) {
  problem<T, V> of(source, source.once_in(3));
  if (source.once_in(2)) {
    score_old(source, of);
    check_objective<T, V, G>{source, of}(drawn_objective(source));
  } else {
    for (transition& step : of.steps) step = tempflow::clean_transition(source.magnitude(1e-3, 1));
    of.convention = support::squared_error;
    score_old(source, of);
    check_objective<T, V, G>{source, of}(finished_objective(source));
  }
}

/// The clipped objective, which has kernels of its own, against its general form; siblings; and drawn again.
template <class T, class V, class G>
void check_clipped(draw& source) {
  problem<T, V> of(source, source.once_in(3));
  of.mask_rows = 0;
  score_old(source, of);
  const index_t rows = of.rows();
  const tempflow::clipped_grpo objective = random_clipped(source);
  auto batch = of.batch();
  batch.gradient_scale = source.one_of({1.0, 1024.0, 1e-3}),
  batch.mean_over = source.one_of<index_t>({0, 1, 1000});
  const bool has_reference = objective.kl_beta != 0 || source.once_in(2);
  const auto v_ref = has_reference ? batch_view<const V>(of.v_ref) : batch_view<const V>();
  std::vector<policy_row> own(at(rows)), general(at(rows)), other(at(rows));
  std::vector<row_sums> sums(at(rows));
  std::vector<row_factors> factors(at(rows));
  batch_buffer<G> gradient(of.states, of.columns), general_gradient(of.states, of.columns);
  const auto total =
      tempflow::policy_loss(plain_cpu(), batch, of.v, v_ref, objective, gradient, std::span(own));
  check_rows(own, of.old, true);
  check_all_finite(gradient);

  placed<G> elsewhere(source, of.states, of.columns);
  const auto again =
      tempflow::policy_loss(source.cpu(), batch, of.v, v_ref, objective, elsewhere.view(), std::span(other));
  require(same_rows(own, other) && same_bits(batch_view<const G>(elsewhere), batch_view<const G>(gradient)) &&
              elsewhere.is_whole(),
          "the loss has other bits in another layout");
  require(total.non_finite_rows == again.non_finite_rows && total.underflowed_rows == again.underflowed_rows,
          "the counts differ");

  tempflow::policy_sums(plain_cpu(), batch, of.v, v_ref, {}, sums);
  tempflow::policy_scores<G>(batch, objective, std::span<const row_sums>(sums), std::span(general),
                             std::span(factors));
  const auto scored = general;
  tempflow::policy_gradient(plain_cpu(), batch, of.v, v_ref, {}, factors, general_gradient, general);
  require(same_rows(own, general), "the general form has other rows");
  auto with_reference = of;
  if (!has_reference) with_reference.v_ref = of.v;
  check_gradient<T, V, G>("cpu", with_reference, factors, gradient, overflowed(scored, own));

  // Each transition a row of its own: the gradients of a state's add up to its own.
  batch_buffer<T> x = support::repeated(of.x, of.counts);
  batch_buffer<V> v = support::repeated(of.v, of.counts), refs = support::repeated(of.v_ref, of.counts);
  std::vector<transition> steps;
  for (index_t i = 0; i < rows; ++i) steps.push_back(of.steps[at(of.state_of(i))]);
  auto apart = batch;
  apart.x = x, apart.offsets = {}, apart.transitions = steps;
  batch_buffer<G> parts(rows, of.columns);
  tempflow::policy_loss(source.cpu(), apart, v, has_reference ? batch_view<const V>(refs) : v_ref, objective,
                        parts, std::span(other));
  if (std::is_same_v<G, float16>) return;  // where a state overflows, each of its rows need not
  require(same_rows(own, other), "siblings have other rows than rows apart");
}

/// Any factors of log-probs.
template <class T, class V, class G>
void check_log_prob_gradient(draw& source) {
  const problem<T, V> of(source, source.once_in(3));
  const index_t rows = of.rows();
  std::vector<double> given;
  const double most = source.magnitude(1e-9, 1e9);
  for (index_t i = 0; i < rows; ++i) given.push_back(source.once_in(5) ? 0 : most * source.uniform(-1, 1));
  batch_buffer<G> gradient(of.states, of.columns);
  std::vector<policy_row> numbers(at(rows));
  auto batch = of.batch();
  tempflow::log_prob_gradient(source.cpu(), batch, of.v, given, gradient, std::span(numbers));
  check_all_finite(gradient);
  std::vector<row_factors> factors;
  std::vector<double> log_probs(at(rows));
  tempflow::log_prob(plain_cpu(), batch, of.v, log_probs);
  for (index_t i = 0; i < rows; ++i) {
    const index_t s = of.state_of(i), elements = of.mask_rows != 0 ? of.mask().count(s) : of.columns;
    const bool kept = numbers[at(i)].finite != 0;
    factors.push_back(
        {kept ? given[at(i)] * tempflow::log_prob_slope(of.steps[at(s)], elements, of.convention) : 0, 0, 0});
    if (kept) require(numbers[at(i)].log_prob == log_probs[at(i)], "the log-prob of row ", i);
  }
  check_gradient<T, V, G>("cpu", of, factors, gradient, {});
}

/// Calls check.template operator()<T, V, G>() for a random triple that tempflow::ops has.
template <class Check>
void with_gradient_storage(draw& source, const Check& check) {
  switch (source.between(0, 5)) {
    case 0: return check.template operator()<double, double, double>();
    case 1: return check.template operator()<bfloat16, bfloat16, bfloat16>();
    case 2: return check.template operator()<float16, float16, float16>();
    case 3: return check.template operator()<float16, float16, float>();
    case 4: return check.template operator()<float, bfloat16, float>();
    default: return check.template operator()<float, float, float>();
  }
}

const property sums("sums and gradients of a row", [](draw& source) {
  with_gradient_storage(source,
                        [&]<class T, class V, class G>() { check_sums_and_gradients<T, V, G>(source); });
});
const property losses("one call and two", [](draw& source) {
  with_gradient_storage(source, [&]<class T, class V, class G>() { check_losses<T, V, G>(source); });
});
const property clipped("the clipped loss and its general form", [](draw& source) {
  with_gradient_storage(source, [&]<class T, class V, class G>() { check_clipped<T, V, G>(source); });
});
// Of one storage type: tempflow::ops does not have its kernels.
const property gradients("gradients of log-probs",
                         [](draw& source) { check_log_prob_gradient<float, float, float>(source); });

}  // namespace
}  // namespace properties
