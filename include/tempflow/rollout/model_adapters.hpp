// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Models in other conventions. The library's flow is x = (1 - sigma) data + sigma noise, its velocity v is that of
// noise - data, and its time is sigma: 0 at data, 1 at noise. What a host's model predicts on this flow, velocity or
// not, gives v as an affine combination of x and the prediction:
//
//   auto model = adapt_model(cpu, network, {.predicts = prediction::data});              // v = (x - out) / sigma
//   auto model = adapt_model(cpu, network, {.predicts = prediction::data_minus_noise,    // v = -out
//                                           .time_at_data = 1, .time_at_noise = 0});     // time = 1 - sigma
//
// docs/maths.md, section 1. A wrong convention runs to the end and gives wrong samples: check_model
// (rollout/model_check.hpp) looks for it.

#include <concepts>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/velocity_model.hpp"
#include "tempflow/schedule/transition.hpp"

namespace tempflow {

/// What a model's output estimates, given x.
enum class prediction {
  velocity,          ///< noise - data, as the library's models
  data_minus_noise,  ///< the velocity of a time that runs from noise to data
  data,              ///< x0
  noise              ///< epsilon, of this flow; a variance-preserving model sees x on another scale
};

/// What a model predicts, and what it calls the noise levels: its time is affine in sigma.
struct model_convention {
  prediction predicts = prediction::velocity;
  double time_at_data = 0;   ///< its time at sigma = 0
  double time_at_noise = 1;  ///< its time at sigma = 1; 1000 for timesteps in thousandths

  /// Its time at a noise level.
  constexpr double time(double sigma) const { return time_at_data + (time_at_noise - time_at_data) * sigma; }

  friend constexpr bool operator==(const model_convention&, const model_convention&) = default;
};

/// The factors of v = alpha x + beta out for what a model predicts at a noise level, in a transition, for ode_step.
///
/// With x = (1 - sigma) data + sigma noise: v = (x - data) / sigma = (noise - x) / (1 - sigma). At sigma = 0 x is
/// the data, and a prediction of it says nothing about the noise; at sigma = 1 x is the noise, and a prediction of
/// it says nothing about the data. There v is not a function of x and the prediction: throws value_error, as for a
/// sigma outside [0, 1]. Grids for models that predict noise start below 1, as wan_sigmas does.
inline transition velocity_from(prediction predicted, double sigma) {
  if (!(sigma >= 0 && sigma <= 1)) {
    throw value_error(detail::message("velocity_from: sigma = ", sigma, ", must lie in [0, 1]"));
  }
  switch (predicted) {
    case prediction::data_minus_noise: return {.alpha = 0, .beta = -1};
    case prediction::data:
      if (sigma == 0) {
        throw value_error("velocity_from: sigma = 0, where a prediction of the data gives no velocity");
      }
      return {.alpha = 1 / sigma, .beta = -1 / sigma};
    case prediction::noise:
      if (sigma == 1) {
        throw value_error(
            "velocity_from: sigma = 1, where a prediction of the noise gives no velocity: x is that noise, "
            "and says nothing about the data. Start the grid below 1, as wan_sigmas does");
      }
      return {.alpha = -1 / (1 - sigma), .beta = 1 / (1 - sigma)};
    case prediction::velocity: break;
  }
  return {.alpha = 0, .beta = 1};
}

namespace detail {

template <class M>
inline constexpr bool is_adapted = false;

}  // namespace detail

/// A model of the library's convention made of one in another; see adapt_model. Its velocities are stored as its
/// states, whatever the outputs of the model that it is made of.
template <backend B, class M>
class adapted_model {
 public:
  using value_type = typename std::remove_reference_t<M>::value_type;

  /// Throws value_error for times that are not finite, or the same at data and noise.
  adapted_model(const B& backend, M&& model, const model_convention& convention)
      : backend_(backend), model_(std::forward<M>(model)), convention_(convention) {
    if (!is_finite(convention.time_at_data) || !is_finite(convention.time_at_noise) ||
        convention.time_at_data == convention.time_at_noise) {
      throw value_error(detail::message("adapt_model: time_at_data = ", convention.time_at_data,
                                        ", time_at_noise = ", convention.time_at_noise));
    }
  }

  index_t dimension() const { return model_.dimension(); }
  const model_convention& convention() const { return convention_; }

  /// As of any velocity_model. Throws, before the model is called, what velocity_from throws.
  void velocity(batch_view<const value_type> x, std::span<const double> sigma,
                std::span<const index_t> prompts, batch_view<value_type> v) {
    const std::vector<transition> factors = factors_of(sigma);
    times_.clear();
    for (const double level : sigma) times_.push_back(convention_.time(level));
    if constexpr (std::same_as<output_type, value_type>) {
      model_.velocity(x, times_, prompts, v);
      if (convention_.predicts != prediction::velocity) ode_step(backend_, x, v, factors, v);
    } else {
      const batch_view<output_type> out = outputs(x.rows(), x.columns());
      model_.velocity(x, times_, prompts, out);
      ode_step(backend_, x, out, factors, v);
    }
  }

  /// Turns dL/dv, as policy_loss gives it for states at these noise levels, into dL/d(the model's output), in
  /// place: what the host's own backward pass begins with. Where that model is adapted too, dL/d(the output of the
  /// innermost). gradient: B x D of any storage type, sigma: B. Throws as velocity does.
  template <storage_scalar G>
  void pull_back(std::span<const double> sigma, batch_view<G> gradient) const {
    std::vector<transition> factors = factors_of(sigma);
    for (transition& factor : factors) factor.alpha = 0;
    if (convention_.predicts != prediction::velocity)
      ode_step(backend_, gradient, gradient, factors, gradient);
    if constexpr (detail::is_adapted<std::remove_cvref_t<M>>) {
      std::vector<double> times;
      for (const double level : sigma) times.push_back(convention_.time(level));
      model_.pull_back(times, gradient);
    }
  }

 private:
  using output_type = velocity_of<std::remove_reference_t<M>>;

  /// Room for outputs that are not stored as the velocities are, kept from call to call.
  batch_view<output_type> outputs(index_t rows, index_t columns) {
    if (!outputs_ || outputs_->rows() < rows || outputs_->columns() != columns) {
      outputs_.reset();  // first, so that there are never two
      outputs_.emplace(make_buffer<output_type>(backend_, rows, columns));
    }
    return outputs_->view().slice(0, rows);
  }

  std::vector<transition> factors_of(std::span<const double> sigma) const {
    std::vector<transition> factors;
    for (const double level : sigma) factors.push_back(velocity_from(convention_.predicts, level));
    return factors;
  }

  B backend_;
  M model_;
  model_convention convention_;
  std::vector<double> times_;
  std::optional<buffer_of<B, output_type>> outputs_;
};

namespace detail {

template <backend B, class M>
inline constexpr bool is_adapted<adapted_model<B, M>> = true;

}  // namespace detail

/// Makes a velocity_model of a model in another convention, for batches of any storage type that lie where the
/// backend computes. A model that is passed by name is referred to, a temporary is taken in.
///
/// The model's `velocity(x, time, prompts, out)` gets its own times and writes what it predicts, in its own
/// velocity_type. A pass over x and out (12 B per element in fp32) makes the velocity of it, in the states' type. Where
/// the two types are one it takes the output's place, rounded once more; otherwise the output lies in a buffer of the
/// adapter's. Throws value_error for times that are not finite or do not move.
template <backend B, class M>
  requires(velocity_model<std::remove_reference_t<M>>)
adapted_model<B, M> adapt_model(const B& backend, M&& model, const model_convention& convention) {
  return {backend, std::forward<M>(model), convention};
}

TEMPFLOW_NEEDS_BACKEND(adapt_model);

}  // namespace tempflow
