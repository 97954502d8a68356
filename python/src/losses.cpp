// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Operators of the loss: policy_loss with its gradient, log_prob_gradient, statistics.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "convention.hpp"
#include "torch_backend.hpp"

namespace tempflow::python {
namespace {

constexpr index_t row_numbers = sizeof(policy_row) / sizeof(double);

/// What a policy_batch shows, held for as long as an operator runs.
struct held_batch {
  row_tensor x;
  std::optional<row_tensor> y;
  transition_table transitions;
  std::optional<table<std::int64_t>> offsets;
  std::vector<noise_id> ids;

  held_batch(std::string_view operation, const Tensor& from, const std::optional<Tensor>& to,
             const Tensor& steps, const std::optional<Tensor>& cuts)
      : x(operation, "x", from), transitions(operation, "transitions", steps) {
    if (to) check_type(operation, "y", *to, x.type()), y.emplace(operation, "y", *to);
    if (cuts) offsets.emplace(operation, "offsets", *cuts);
  }

  template <class T>
  policy_batch<T> batch() const {
    policy_batch<T> shown;
    shown.x = x.view<T>();
    shown.transitions = transitions;
    if (y) shown.y = y->view<T>();
    if (offsets) shown.offsets = as_indices(offsets->values());
    return shown;
  }
};

template <class G>
batch_view<G> gradient_view(const Tensor& gradient, const row_tensor& v) {
  return {static_cast<G*>(gradient.mutable_data_ptr()), v.rows(), v.columns()};
}

std::span<policy_row> rows_of(const Tensor& rows) {
  return {reinterpret_cast<policy_row*>(rows.mutable_data_ptr()), static_cast<std::size_t>(rows.size(0))};
}

std::tuple<Tensor, Tensor, Tensor> policy_loss(const Tensor& v, const Tensor& x, std::optional<Tensor> y,
                                               std::optional<Tensor> v_ref, std::optional<Tensor> offsets,
                                               const Tensor& transitions, const Tensor& old_log_probs,
                                               const Tensor& advantages, const Tensor& weights,
                                               std::optional<Tensor> ids, std::int64_t seed,
                                               std::int64_t update, bool antithetic, double clip_low,
                                               double clip_high, double advantage_clip, double kl_beta,
                                               std::string kl_over, std::string reduction, std::string terms,
                                               std::int64_t mean_over, bool without_zeros) {
  return typed([&] {
    constexpr auto operation = "policy_loss";
    static constexpr std::pair<std::string_view, kl_denominator> denominators[] = {
        {"transition_variance", kl_denominator::transition_variance},
        {"diffusion", kl_denominator::diffusion},
        {"unit", kl_denominator::unit}};
    held_batch held(operation, x, y, transitions, offsets);
    if (ids) held.ids = noise_ids(operation, *ids);
    const row_tensor velocity(operation, "v", v);
    std::optional<row_tensor> reference;
    if (v_ref)
      check_type(operation, "v_ref", *v_ref, velocity.type()), reference.emplace(operation, "v_ref", *v_ref);
    const table<double> old(operation, "old_log_probs", old_log_probs),
        gains(operation, "advantages", advantages), weighted(operation, "weights", weights);
    const clipped_grpo objective{.clip = {clip_low, clip_high},
                                 .advantage_clip = advantage_clip,
                                 .kl_beta = kl_beta,
                                 .kl_over = choice(operation, "kl_over", kl_over, denominators)};
    const auto count = static_cast<std::int64_t>(old.values().size());
    const Tensor rows = torch::stable::empty({count, row_numbers}, ScalarType::Double);
    const Tensor loss = torch::stable::empty({}, ScalarType::Double);
    Tensor gradient = v;  // for its type
    with_types(operation, held.x.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      using V = decltype(w);
      auto batch = held.batch<T>();
      if (ids)
        batch.drawn.emplace(key_of(operation, seed, update), std::span<const noise_id>(held.ids), antithetic);
      batch.old_log_probs = old.values();
      batch.advantages = gains.values();
      batch.weights = weighted.values();
      batch.convention = convention_of(operation, reduction, terms);
      batch.mean_over = mean_over;
      batch.without_zeros = without_zeros;
      gradient = torch::stable::new_empty(v, with_rows(v, velocity.rows()), scalar_type_of<gradient_t<V>>());
      const policy_statistics statistics = tempflow::policy_loss(
          on_torch(), batch, velocity.view<V>(), reference ? reference->view<V>() : batch_view<const V>(),
          objective, gradient_view<gradient_t<V>>(gradient, velocity), rows_of(rows));
      *static_cast<double*>(loss.mutable_data_ptr()) = statistics.loss;
    });
    return std::tuple(loss, gradient, rows);
  });
}

std::tuple<Tensor, Tensor> log_prob_gradient(const Tensor& v, const Tensor& x, const Tensor& y,
                                             std::optional<Tensor> offsets, const Tensor& transitions,
                                             const Tensor& factors, std::string reduction,
                                             std::string terms) {
  return typed([&] {
    constexpr auto operation = "log_prob_gradient";
    const held_batch held(operation, x, y, transitions, offsets);
    const row_tensor velocity(operation, "v", v);
    const table<double> given(operation, "factors", factors);
    const Tensor rows = torch::stable::empty({held.y->rows(), row_numbers}, ScalarType::Double);
    Tensor gradient = v;
    with_types(operation, held.x.type(), velocity.type(), [&](auto t, auto w) {
      using V = decltype(w);
      auto batch = held.batch<decltype(t)>();
      batch.convention = convention_of(operation, reduction, terms);
      gradient = torch::stable::new_empty(v, with_rows(v, velocity.rows()), scalar_type_of<gradient_t<V>>());
      tempflow::log_prob_gradient(on_torch(), batch, velocity.view<V>(), given.values(),
                                  gradient_view<gradient_t<V>>(gradient, velocity), rows_of(rows));
    });
    return std::tuple(gradient, rows);
  });
}

/// The objective alone, of log-probs that are at hand: each row's loss, and its derivative with respect to the log-prob.
std::tuple<Tensor, Tensor> clipped_surrogate(const Tensor& log_probs, const Tensor& old_log_probs,
                                             const Tensor& advantages, const Tensor& weights, double clip_low,
                                             double clip_high, double advantage_clip) {
  return typed([&] {
    constexpr auto operation = "clipped_surrogate";
    const table<double> now(operation, "log_probs", log_probs),
        old(operation, "old_log_probs", old_log_probs), gains(operation, "advantages", advantages),
        weighted(operation, "weights", weights);
    const clipped_grpo objective{.clip = {clip_low, clip_high}, .advantage_clip = advantage_clip};
    objective.validate();
    const std::size_t count = now.values().size();
    for (const auto& [name, values] :
         {std::pair("old_log_probs", old.values()), std::pair("advantages", gains.values()),
          std::pair("weights", weighted.values())}) {
      detail::check_size(operation, name, values.size(), static_cast<index_t>(count));
    }
    std::vector<double> losses(count), slopes(count);
    for (std::size_t i = 0; i < count; ++i) {
      const surrogate row =
          objective(now.values()[i] - old.values()[i], gains.values()[i], weighted.values()[i]);
      losses[i] = row.loss, slopes[i] = row.slope;
    }
    return std::tuple(table_of(losses), table_of(slopes));
  });
}

/// The fields of policy_statistics, in order: thirteen numbers.
Tensor policy_statistics_of(const Tensor& rows, double kl_beta, double mean_over) {
  return typed([&] {
    const table<double> numbers("policy_statistics", "rows", rows, row_numbers);
    const policy_statistics s = summarize(
        {reinterpret_cast<const policy_row*>(numbers.values().data()), numbers.values().size() / row_numbers},
        kl_beta, mean_over);
    return table_of<double>({static_cast<double>(s.rows), s.loss, s.surrogate, s.kl, s.approx_kl,
                             s.ratio_mean, s.ratio_min, s.ratio_max, s.fraction_below, s.fraction_above,
                             s.max_abs_log_ratio, static_cast<double>(s.non_finite_rows),
                             static_cast<double>(s.underflowed_rows)});
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_FRAGMENT(tempflow, m) {
  m.def(
      "policy_loss(Tensor v, Tensor x, Tensor? y, Tensor? v_ref, Tensor? offsets, Tensor transitions, "
      "Tensor old_log_probs, Tensor advantages, Tensor weights, Tensor? ids, int seed, int update, bool "
      "antithetic, "
      "float clip_low, float clip_high, float advantage_clip, float kl_beta, str kl_over, str reduction, str "
      "terms, "
      "int mean_over, bool without_zeros) -> (Tensor, Tensor, Tensor)");
  m.def(
      "log_prob_gradient(Tensor v, Tensor x, Tensor y, Tensor? offsets, Tensor transitions, Tensor factors, "
      "str reduction, str terms) -> (Tensor, Tensor)");
  m.def(
      "clipped_surrogate(Tensor log_probs, Tensor old_log_probs, Tensor advantages, Tensor weights, float "
      "clip_low, "
      "float clip_high, float advantage_clip) -> (Tensor, Tensor)");
  m.def("policy_statistics(Tensor rows, float kl_beta, float mean_over) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(tempflow, CPU, m) {
  m.impl("policy_loss", TORCH_BOX(&tempflow::python::policy_loss));
  m.impl("log_prob_gradient", TORCH_BOX(&tempflow::python::log_prob_gradient));
  m.impl("clipped_surrogate", TORCH_BOX(&tempflow::python::clipped_surrogate));
  m.impl("policy_statistics", TORCH_BOX(&tempflow::python::policy_statistics_of));
}
