// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// policy_loss with its gradient, and log_prob_gradient. On a device they do not wait: the loss and each row's own numbers
// lie where v does.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "backend.hpp"
#include "convention.hpp"
#include "policy_rows.hpp"
#include "tempflow/ops/summarize.hpp"

namespace tempflow::python {
namespace {

/// What a policy_batch shows, held for as long as an operator runs.
struct held_batch {
  row_tensor x;
  std::optional<row_tensor> y;
  transition_table transitions;
  offset_table offsets;
  std::vector<noise_id> ids;

  held_batch(std::string_view operation, const Tensor& from, const std::optional<Tensor>& to,
             const Tensor& steps, const std::optional<Tensor>& cuts)
      : x(operation, "x", from), transitions(operation, "transitions", steps), offsets(operation, cuts) {
    if (to) check_type(operation, "y", *to, x.type()), y.emplace(operation, "y", *to, x);
  }

  template <class T>
  policy_batch<T> batch() const {
    policy_batch<T> shown;
    shown.x = x.view<T>();
    shown.transitions = transitions;
    if (y) shown.y = y->view<T>();
    shown.offsets = offsets;
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
    const row_tensor velocity(operation, "v", v, held.x);
    std::optional<row_tensor> reference;
    if (v_ref) {
      check_type(operation, "v_ref", *v_ref, velocity.type());
      reference.emplace(operation, "v_ref", *v_ref, held.x);
    }
    constexpr auto any = table_memory::any;
    const table<double> old(operation, "old_log_probs", old_log_probs, 1, any),
        gains(operation, "advantages", advantages, 1, any), weighted(operation, "weights", weights, 1, any);
    const clipped_grpo objective{.clip = {clip_low, clip_high},
                                 .advantage_clip = advantage_clip,
                                 .kl_beta = kl_beta,
                                 .kl_over = choice(operation, "kl_over", kl_over, denominators)};
    for (const auto& [name, numbers] :
         {std::pair("transitions", &transitions), std::pair("old_log_probs", &old_log_probs),
          std::pair("advantages", &advantages), std::pair("weights", &weights)}) {
      if (numbers->is_cuda()) check_device(operation, name, *numbers, x);
    }
    const auto count = static_cast<std::int64_t>(old.values().size());
    const Tensor rows = numbers_like(v, {count, row_numbers}), summary = numbers_like(v, {summary_numbers});
    const backend_on backend(v, (std::max)(count, velocity.rows()), velocity.columns());
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
      policy_loss_rows(*backend, batch, velocity.view<V>(),
                       reference ? reference->view<V>() : batch_view<const V>(), objective,
                       gradient_view<gradient_t<V>>(gradient, velocity), rows_of(rows));
    });
    const auto divisor = static_cast<double>(mean_over > 0 ? mean_over : (std::max)(count, std::int64_t{1}));
    summarize(*backend, std::span<const policy_row>(rows_of(rows)), kl_beta, divisor,
              *static_cast<policy_statistics*>(summary.mutable_data_ptr()));
    return std::tuple(torch::stable::select(summary, 0, loss_at), gradient, rows);
  });
}

std::tuple<Tensor, Tensor> log_prob_gradient(const Tensor& v, const Tensor& x, const Tensor& y,
                                             std::optional<Tensor> offsets, const Tensor& transitions,
                                             const Tensor& factors, std::string reduction,
                                             std::string terms) {
  return typed([&] {
    constexpr auto operation = "log_prob_gradient";
    const held_batch held(operation, x, y, transitions, offsets);
    const row_tensor velocity(operation, "v", v, held.x);
    const table<double> given(operation, "factors", factors, 1, table_memory::any);
    const Tensor rows = numbers_like(v, {held.y->rows(), row_numbers});
    const backend_on backend(v, (std::max)(held.y->rows(), velocity.rows()), velocity.columns());
    Tensor gradient = v;
    with_types(operation, held.x.type(), velocity.type(), [&](auto t, auto w) {
      using V = decltype(w);
      auto batch = held.batch<decltype(t)>();
      batch.convention = convention_of(operation, reduction, terms);
      gradient = torch::stable::new_empty(v, with_rows(v, velocity.rows()), scalar_type_of<gradient_t<V>>());
      tempflow::log_prob_gradient(*backend, batch, velocity.view<V>(), given.values(),
                                  gradient_view<gradient_t<V>>(gradient, velocity), rows_of(rows));
    });
    return std::tuple(gradient, rows);
  });
}

}  // namespace
}  // namespace tempflow::python

STABLE_TORCH_LIBRARY_IMPL(tempflow, TEMPFLOW_PYTHON_DISPATCH, m) {
  m.impl("policy_loss", TORCH_BOX(&tempflow::python::policy_loss));
  m.impl("log_prob_gradient", TORCH_BOX(&tempflow::python::log_prob_gradient));
}
