// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What check_model asks of a model, and how it compares conventions.

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tempflow/backend/backend.hpp"
#include "tempflow/core/batch_like.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/noise_source.hpp"
#include "tempflow/ops/copy_rows.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/detail/forest_layout.hpp"
#include "tempflow/rollout/model_adapters.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow::detail {

/// The numbers of a batch on the host, row after row.
template <backend B, batch_like X>
std::vector<double> numbers_of(const B& backend, X&& batch) {
  const auto here = to_host(backend, batch);
  std::vector<double> values;
  for (index_t i = 0; i < here.rows(); ++i) {
    const auto* const row = here.view().row(i);
    for (index_t e = 0; e < here.columns(); ++e) values.push_back(static_cast<double>(load(row[e])));
  }
  return values;
}

/// a x + b y.
inline std::vector<double> combination(double a, std::span<const double> x, double b,
                                       std::span<const double> y) {
  std::vector<double> sum(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] = a * x[i] + b * y[i];
  return sum;
}

inline double mean_square(std::span<const double> x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return x.empty() ? 0 : sum / static_cast<double>(x.size());
}

inline double mean_square_of_difference(std::span<const double> x, std::span<const double> y) {
  return mean_square(combination(1, x, -1, y));
}

/// Slope of y on x: their covariance over the variance of x.
inline double slope(std::span<const double> y, std::span<const double> x) {
  const auto count = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, products = 0, squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mean_x += x[i] / count, mean_y += y[i] / count;
  for (std::size_t i = 0; i < x.size(); ++i) {
    products += (x[i] - mean_x) * (y[i] - mean_y);
    squares += (x[i] - mean_x) * (x[i] - mean_x);
  }
  return products / squares;
}

/// A batch of states, `of_prompt` for each prompt, that a model is asked about, max_batch rows in a call (0: all).
template <backend B, velocity_model M>
class model_probe {
 public:
  using T = typename M::value_type;

  /// x and the model's output, as numbers.
  struct answer {
    std::vector<double> x, out;
  };

  model_probe(const B& backend, M& model, std::span<const index_t> prompts, index_t of_prompt, noise_key key,
              index_t max_batch)
      : backend_(backend),
        model_(model),
        key_(key),
        max_batch_(max_batch),
        x_(make_buffer<T>(backend, static_cast<index_t>(prompts.size()) * of_prompt, model.dimension())),
        noise_(x_.like(x_.rows(), x_.columns())),
        out_(make_buffer<velocity_of<M>>(backend, x_.rows(), x_.columns())) {
    for (const index_t prompt : prompts) {
      for (index_t i = 0; i < of_prompt; ++i) {
        of_rows_.push_back(prompt);
        ids_.push_back({.prompt = static_cast<std::uint32_t>(prompt), .seed = static_cast<std::uint32_t>(i)});
      }
    }
  }

  /// x becomes initial noise.
  void start() { draw(initial_noise_step, x_.view()); }

  /// Euler's step from the last answer.
  void step(double sigma, double sigma_next) {
    ode_step(backend_, x_.view(), out_, transition{.alpha = 1, .beta = sigma_next - sigma}, x_.view());
  }

  /// x becomes (1 - sigma) data + sigma noise, with noise of its own for each step. Returns noise - data.
  std::vector<double> noise(batch_view<const T> data, index_t at_step, double sigma) {
    draw(static_cast<std::uint16_t>(at_step), noise_.view());
    ode_step(backend_, data, noise_, transition{.alpha = 1 - sigma, .beta = sigma}, x_.view());
    return combination(1, numbers_of(backend_, noise_), -1, numbers_of(backend_, data));
  }

  answer ask(double sigma) {
    sigmas_.assign(of_rows_.size(), sigma);
    const index_t rows = x_.rows(), limit = call_rows(rows, max_batch_);
    for (index_t first = 0; first < rows; first += limit) {
      const index_t count = (std::min)(limit, rows - first);
      const auto at = static_cast<std::size_t>(first), size = static_cast<std::size_t>(count);
      model_.velocity(batch_view<const T>(x_.view().slice(first, count)),
                      std::span<const double>(sigmas_).subspan(at, size),
                      std::span<const index_t>(of_rows_).subspan(at, size), out_.view().slice(first, count));
    }
    return {numbers_of(backend_, x_), numbers_of(backend_, out_)};
  }

  batch_view<const T> states() { return x_.view(); }
  std::vector<double> numbers() const { return numbers_of(backend_, x_); }

 private:
  void draw(std::uint16_t at_step, batch_view<T> to) {
    for (noise_id& id : ids_) id.step = at_step;
    fill_noise(backend_, noise_source(key_, ids_), to);
  }

  const B& backend_;
  M& model_;
  noise_key key_;
  index_t max_batch_;
  buffer_of<B, T> x_, noise_;
  buffer_of<B, velocity_of<M>> out_;
  std::vector<index_t> of_rows_;
  std::vector<noise_id> ids_;
  std::vector<double> sigmas_;
};

/// Errors of what a model says in each convention, over noise levels. Weighted by (sigma (1 - sigma))^2, so that all
/// are well conditioned: an error of predicted data counts 1 / sigma times in v, one of predicted noise
/// 1 / (1 - sigma) times.
class convention_errors {
 public:
  /// Of the model's answers for x at sigma, in (0, 1), and at the time 1 - sigma.
  void add(double sigma, std::span<const double> x, std::span<const double> out,
           std::span<const double> reversed, std::span<const double> target) {
    const double weight = sigma * sigma * (1 - sigma) * (1 - sigma);
    of_zero_ += weight * mean_square(target);
    for (std::size_t i = 0; i < predictions.size(); ++i) {
      const transition factors = velocity_from(predictions[i], sigma);
      const auto error = [&](std::span<const double> answer) {
        return weight *
               mean_square_of_difference(combination(factors.alpha, x, factors.beta, answer), target);
      };
      errors_[0][i] += error(out), errors_[1][i] += error(reversed);
    }
  }

  /// The convention with the smallest error, and that error over the error of v = 0. Another than the library's own
  /// has to be clearly better than that and than v = 0: where all are worse than nothing, as of a guided model, the
  /// least bad says nothing.
  struct fit {
    model_convention convention;
    double error = 0;
  };
  fit best() const {
    fit found{{}, own()};
    double least = clearly * (own() < 1 ? own() : 1);  // of 1, too, where the own is no number
    for (const bool reversed : {false, true}) {
      for (std::size_t i = 0; i < predictions.size(); ++i) {
        const double error = errors_[reversed ? 1 : 0][i] / of_zero_;
        if (!(error < least)) continue;
        found = {{predictions[i], reversed ? 1.0 : 0.0, reversed ? 0.0 : 1.0}, error};
        least = error;
      }
    }
    return found;
  }
  double own() const { return errors_[0][0] / of_zero_; }

 private:
  static constexpr double clearly = 0.9;
  static constexpr std::array predictions{prediction::velocity, prediction::data_minus_noise,
                                          prediction::data, prediction::noise};

  double of_zero_ = 0;
  std::array<std::array<double, predictions.size()>, 2> errors_{};
};

}  // namespace tempflow::detail
