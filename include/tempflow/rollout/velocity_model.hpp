// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the host brings: a flow model that predicts velocities for a batch.

#include <concepts>
#include <span>
#include <utility>

#include "tempflow/core/batch_view.hpp"

namespace tempflow {

namespace detail {

template <class M>
struct velocity_type {
  using type = typename M::value_type;
};
template <class M>
  requires requires { typename M::velocity_type; }
struct velocity_type<M> {
  using type = typename M::velocity_type;
};

}  // namespace detail

/// What a model's velocities are stored as.
template <class M>
using velocity_of = typename detail::velocity_type<M>::type;

/// A flow model v = velocity(x, sigma, prompt).
///
/// `value_type` is the storage type of its states, and of its velocities unless it names a `velocity_type` (fp32 states
/// and bf16 velocities under autocast); `dimension()` the elements of one sample. `velocity` fills
/// v (B x D) for states x (B x D), noise levels sigma (B, in [0, 1]) and prompt ids (B); rows may differ in
/// all three. Guidance, text embeddings and devices are the model's own business.
template <class M>
concept velocity_model = requires(M& model, batch_view<const typename M::value_type> x,
                                  std::span<const double> sigma, std::span<const index_t> prompts,
                                  batch_view<velocity_of<M>> v) {
  requires(computes_with<velocity_of<M>, typename M::value_type>);
  { std::as_const(model).dimension() } -> std::convertible_to<index_t>;
  model.velocity(x, sigma, prompts, v);
};

/// A flow model made of a function (x, sigma, prompts, v).
template <storage_scalar T, class Velocity, computes_with<T> V = T>
class function_model {
 public:
  using value_type = T;
  using velocity_type = V;

  function_model(index_t dimension, Velocity velocity)
      : dimension_(dimension), velocity_(std::move(velocity)) {}

  index_t dimension() const { return dimension_; }

  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> prompts,
                batch_view<V> v) {
    velocity_(x, sigma, prompts, v);
  }

 private:
  index_t dimension_;
  Velocity velocity_;
};

/// `flow_model<float>(dimension, [](auto x, auto sigma, auto prompts, auto v) { ... })`, or
/// `flow_model<float, bfloat16>(...)` for velocities in another storage type.
template <storage_scalar T, computes_with<T> V = T, class Velocity>
function_model<T, Velocity, V> flow_model(index_t dimension, Velocity velocity) {
  return {dimension, std::move(velocity)};
}

}  // namespace tempflow
