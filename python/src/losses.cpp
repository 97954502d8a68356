// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// policy_loss with its gradient, and log_prob_gradient. On a device they do not wait: the loss and each row's own numbers
// lie where v does.

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "batches.hpp"
#include "parameters.hpp"
#include "tempflow/ops/summarize.hpp"

namespace tempflow::python {
namespace {

std::tuple<Tensor, Tensor, Tensor> policy_loss(
    const Tensor& v, const Tensor& x, std::optional<Tensor> y, std::optional<Tensor> v_ref,
    std::optional<Tensor> v_old, std::optional<Tensor> mask, std::optional<Tensor> offsets,
    const Tensor& transitions, std::optional<Tensor> old_log_probs, const Tensor& advantages,
    const Tensor& weights, std::optional<Tensor> ids, std::int64_t seed, std::int64_t update, bool antithetic,
    std::string objective, std::vector<double> numbers, std::vector<std::string> choices,
    std::string reduction, std::string terms, std::int64_t mean_over, bool without_zeros) {
  return typed([&] {
    constexpr auto operation = "policy_loss";
    held_batch held(operation, x, y, transitions, offsets, mask);
    if (ids) held.ids = noise_ids(operation, *ids);
    const row_tensor velocity(operation, "v", v, held.x);
    const auto reference = other_velocity(operation, "v_ref", v_ref, velocity),
               rollouts = other_velocity(operation, "v_old", v_old, velocity);
    constexpr auto any = table_memory::any;
    std::optional<table<double>> old;
    if (old_log_probs) old.emplace(operation, "old_log_probs", *old_log_probs, 1, any);
    const table<double> gains(operation, "advantages", advantages, 1, any),
        weighted(operation, "weights", weights, 1, any);
    for (const auto& [name, table] :
         {std::pair("transitions", &transitions), std::pair("advantages", &advantages),
          std::pair("weights", &weights), std::pair("old_log_probs", old_log_probs ? &*old_log_probs : &x)}) {
      if (table->is_cuda()) check_device(operation, name, *table, x);
    }
    const auto count = y ? y->size(0) : ids ? ids->size(0) : velocity.rows();
    const Tensor rows = numbers_like(v, {count, row_numbers}), summary = numbers_like(v, {summary_numbers});
    const backend_on backend(v, (std::max)(count, velocity.rows()), velocity.columns());
    Tensor gradient = v;  // for its type
    double kl_beta = 0;
    with_types(operation, held.x.type(), velocity.type(), [&](auto t, auto w) {
      using T = decltype(t);
      using V = decltype(w);
      auto batch = held.batch<T>();
      if (ids)
        batch.drawn.emplace(key_of(operation, seed, update), std::span<const noise_id>(held.ids), antithetic);
      if (old) batch.old_log_probs = old->values();
      batch.advantages = gains.values();
      batch.weights = weighted.values();
      batch.convention = convention_of(operation, reduction, terms);
      batch.mean_over = mean_over;
      batch.without_zeros = without_zeros;
      gradient = torch::stable::new_empty(v, with_rows(v, velocity.rows()), scalar_type_of<gradient_t<V>>());
      const auto to = gradient_view<gradient_t<V>>(gradient, velocity);
      const auto run = [&](const auto& of) {
        kl_beta = of.kl_beta;
        if constexpr (std::is_same_v<decltype(of), const row_choice&>) {
          policy_loss_rows(*backend, batch, velocity.view<V>(), view_of<V>(reference),
                           of.needs.old_velocity ? view_of<V>(rollouts) : batch_view<const V>(), of, to,
                           rows_of(rows));
        } else if (batch.mask.given()) {
          policy_loss_rows(*backend, batch, velocity.view<V>(), view_of<V>(reference), {},
                           as_row_objective(of), to, rows_of(rows));
        } else {
          policy_loss_rows(*backend, batch, velocity.view<V>(), view_of<V>(reference), of, to, rows_of(rows));
        }
      };
      with_row_objective(operation, objective, [&](const auto& of) {
        run(chosen(with_parameters(operation, of, numbers, choices)));
      });
    });
    const auto divisor = static_cast<double>(mean_over > 0 ? mean_over : (std::max)(count, std::int64_t{1}));
    summarize(*backend, std::span<const policy_row>(rows_of(rows)), kl_beta, divisor,
              *static_cast<policy_statistics*>(summary.mutable_data_ptr()));
    return std::tuple(torch::stable::select(summary, 0, loss_at), gradient, rows);
  });
}

std::tuple<Tensor, Tensor> log_prob_gradient(const Tensor& v, const Tensor& x, const Tensor& y,
                                             std::optional<Tensor> mask, std::optional<Tensor> offsets,
                                             const Tensor& transitions, const Tensor& factors,
                                             std::string reduction, std::string terms) {
  return typed([&] {
    constexpr auto operation = "log_prob_gradient";
    const held_batch held(operation, x, y, transitions, offsets, mask);
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
