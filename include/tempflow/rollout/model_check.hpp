// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Whether a model keeps the library's convention: to run once, before anything is trained.
//
//   std::cout << check_model(cpu, model, chain, prompts, {.seed = 1});           // or, decisive, with data:
//   std::cout << check_model(cpu, model, chain, prompts, {.seed = 1}, latents);
//
// A velocity of the wrong sign, or a time that runs the other way, runs to the end of a rollout and gives samples
// of nothing. docs/maths.md, section 1.1, says what a velocity has to do, and what the wrong ones do.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tempflow/core/batch_like.hpp"
#include "tempflow/core/noise.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/ops/detail/needs_backend.hpp"
#include "tempflow/rollout/batch_moments.hpp"
#include "tempflow/rollout/detail/model_probe.hpp"
#include "tempflow/rollout/detail/rollout.hpp"
#include "tempflow/rollout/model_adapters.hpp"
#include "tempflow/rollout/velocity_model.hpp"
#include "tempflow/schedule/chain.hpp"
#include "tempflow/schedule/detail/checks.hpp"
#include "tempflow/schedule/dynamics.hpp"

namespace tempflow {

/// What a model did at a step of the ODE.
struct model_check_step {
  double sigma = 0;
  batch_moments x;     ///< of the states
  batch_moments data;  ///< of the data that they predict, x - sigma v
  double change = 0;   ///< root mean square change of predicted data from the step before; 0 at the first
  /// Mean of (v - (noise - data))^2 over that of (noise - data)^2, on the data given, or else on the ODE's samples,
  /// with fresh noise. The right v is E[noise - data | x], which makes it smallest: at most 1, what v = 0 has. A
  /// guided v is not that mean, and may have more.
  double error = 0;
};

/// What check_model found.
struct model_report {
  std::vector<model_check_step> steps;
  batch_moments samples;   ///< what the ODE ends with; where the grid ends at 0, the last predicted data
  double noise_slope = 0;  ///< of the first velocities on their states: 1 for pure noise, whatever the data
  /// Root mean square change of the output from sigma to 1 - sigma, over that of x, at the knots where these are 0.2
  /// apart or more; NaN where there are none.
  double time_response = 0;
  /// With data: the convention of those that adapt_model knows in which the model predicts it best. The library's own
  /// unless another's error is below 0.9 of its, and of v = 0.
  std::optional<model_convention> fits;
  std::string problem;  ///< what looks wrong, and what to do about it; empty: nothing
  std::string hint;     ///< where there is no problem: what may be wrong, and may be guidance; empty: nothing

  bool consistent() const { return problem.empty(); }
};

namespace detail {

inline std::string_view name_of(prediction predicts) {
  constexpr std::string_view names[] = {"velocity", "data_minus_noise", "data", "noise"};
  return names[static_cast<std::size_t>(predicts)];
}

inline std::string text_of(const model_convention& convention) {
  return message("{.predicts = prediction::", name_of(convention.predicts),
                 ", .time_at_data = ", convention.time_at_data,
                 ", .time_at_noise = ", convention.time_at_noise, "}");
}

/// The first of the things that check_model looks for, as text.
inline std::string problem_of(const model_report& report, const convention_errors& errors) {
  constexpr double lowest_slope = 0.5, lowest_response = 0.1;
  for (const model_check_step& step : report.steps) {
    if (is_finite(step.error)) continue;
    return message("the velocity is not finite on samples with noise (sigma = ", step.sigma, ")");
  }
  if (report.time_response < lowest_response) {
    return message(
        "the output hardly changes with time (by ", report.time_response,
        "): the model's time may have another scale (adapt_model with .time_at_noise = 1000), or have "
        "been given one that it does not have; or the model is not trained");
  }
  if (report.fits && *report.fits != model_convention{}) {
    return message("the model predicts the data best as ", text_of(*report.fits), ", with error ",
                   errors.best().error, " instead of ", errors.own(), ": wrap it by adapt_model");
  }
  if (report.steps.front().sigma >= pure_noise && !(report.noise_slope >= lowest_slope)) {
    return message(
        "from noise alone, v has slope ", report.noise_slope, " on it, and should have 1: ",
        report.noise_slope > -lowest_slope
            ? "the model may predict data (adapt_model with prediction::data)"
            : "the sign may be wrong (adapt_model with prediction::data_minus_noise), or the time "
              "run the other way (with .time_at_data = 1, .time_at_noise = 0) or on another scale");
  }
  return {};
}

/// The largest error, as text, where it is worth a word.
inline std::string hint_of(const model_report& report, bool given) {
  constexpr double highest_error = 1.2;
  constexpr std::size_t enough_steps = 4;  // fewer end at means, which are no samples of the model's flow
  const auto& worst = *std::ranges::max_element(report.steps, {}, &model_check_step::error);
  if (!(worst.error > highest_error) || (!given && report.steps.size() < enough_steps)) return {};
  const std::string found =
      message("at sigma = ", worst.sigma, " v has ", worst.error, " times the error of no velocity");
  if (given) {
    return found +
           ". Guidance alone may do that: check the model without it, or at scale 1. Without guidance, "
           "the data may have another scale than the model's, or the model a convention that "
           "adapt_model does not know";
  }
  return found +
         " on the model's own samples. Guidance alone may do that, or too few steps: check the model "
         "without it, or at scale 1. Without guidance, the convention may be wrong: with data, "
         "check_model may say which it is";
}

}  // namespace detail

/// Walks the ODE from noise over the chain's knots and looks at what the model predicts on the way.
///
/// prompts: P ids, as for roll_out. data: real samples in the model's scale, where the backend computes: a multiple
/// of P rows, those of a prompt next to each other; or {}. As many samples are walked, the same number for each
/// prompt, as make 1,024 elements in all, at least one per prompt. The model is asked three times a step, once about
/// the samples walked and twice about data, or else about them; max_batch rows in a call (0: all).
///
/// `problem` names the first of:
/// - a velocity that is not finite;
/// - an output that hardly changes with the time, as of a model whose time runs to 1000;
/// - with data: another convention of adapt_model (four predictions, time running either way) in which the model has
///   less than 0.9 of its error, and of that of no velocity;
/// - from pure noise (sigma >= 0.999): first velocities with a slope below 0.5 on it (1 for whatever data, guided or
///   not; -1 for a wrong sign or a reversed time, 0 for predicted data).
///
/// `hint`, where there is none: an error above 1.2 at some step, on data or else, from 4 steps on, on the model's own
/// samples. It is no problem, since guidance makes it: v + w (v_prompt - v) is no mean of noise - data, and has no
/// bound on its error. With guidance, then, a check sees less. Best check the model without it; one that takes its
/// guidance as an input, as FLUX.1-dev does, at scale 1. Without guidance the hint is to be taken for a problem.
///
/// From below pure noise and without data only the first two are seen, and the rest is at most hinted at. Without data
/// it cannot see a model that is a flow of other data: one that predicts noise, or whose sign and time are both
/// reversed, differs from the right one by its samples alone. So look at `samples`. With data it cannot tell apart
/// what agrees on them: a reversed sign and time on data that is N(0, 1) itself; a prediction of noise on data whose
/// std is far below 1. Nor can errors tell where the right one's is 0.9 or more, as on data of independent elements
/// with std 1. Samples that are merely bad are none of its business.
///
/// Throws value_error and group_error for prompts as roll_out does, value_error for a negative max_batch, shape_error
/// for data that does not fit; exceptions of the model pass through.
template <backend B, velocity_model M>
model_report check_model(const B& backend, M& model, const chain& steps, std::span<const index_t> prompts,
                         noise_key key, input_batch<typename M::value_type> data = {},
                         index_t max_batch = 0) {
  detail::check_prompts(prompts);
  detail::check_dimension(model.dimension());
  detail::check_count("check_model: max_batch", max_batch, 0);
  const auto count = static_cast<index_t>(prompts.size());
  const bool given = data.rows() > 0;
  if (given && (data.rows() % count != 0 || data.columns() != model.dimension())) {
    throw shape_error(detail::message("check_model: data is ", data.rows(), " x ", data.columns(),
                                      ", expected a multiple of ", count, " rows of ", model.dimension(),
                                      " elements"));
  }
  model_report report;
  detail::model_probe<B, M> walk(backend, model, prompts, 1 + 1023 / (count * model.dimension()), key,
                                 max_batch);
  walk.start();
  std::vector<double> before;
  for (index_t i = 0; i < steps.steps(); ++i) {
    const double sigma = steps.sigmas()[static_cast<std::size_t>(i)];
    const auto [x, v] = walk.ask(sigma);
    const auto predicted = detail::combination(1, x, -sigma, v);
    if (i == 0) report.noise_slope = detail::slope(v, x), before = predicted;
    report.steps.push_back({.sigma = sigma,
                            .x = moments_of(x),
                            .data = moments_of(predicted),
                            .change = std::sqrt(detail::mean_square_of_difference(predicted, before))});
    if (!report.steps.back().data.finite()) {
      report.problem = detail::message("the velocity is not finite at step ", i, " (sigma = ", sigma, ")");
      return report;
    }
    before = predicted;
    walk.step(sigma, steps.sigmas()[static_cast<std::size_t>(i) + 1]);
  }
  report.samples = moments_of(walk.numbers());

  const batch_view<const typename M::value_type> of = given ? data : walk.states();
  detail::model_probe<B, M> noised(backend, model, prompts, of.rows() / count, key, max_batch);
  detail::convention_errors errors;
  double response = 0, answers = 0;
  for (index_t i = 0; i < steps.steps(); ++i) {
    model_check_step& at = report.steps[static_cast<std::size_t>(i)];
    const auto target = noised.noise(of, i, at.sigma);
    const auto [x, v] = noised.ask(at.sigma);
    at.error = detail::mean_square_of_difference(v, target) / detail::mean_square(target);
    if (at.sigma >= 1) continue;  // at the time 0 a prediction of data gives no velocity
    const auto reversed = noised.ask(1 - at.sigma).out;
    if (std::abs(1 - 2 * at.sigma) >= 0.2) {  // near 1/2 both times are the same
      response += detail::mean_square_of_difference(v, reversed) / detail::mean_square(x);
      ++answers;
    }
    if (given) errors.add(at.sigma, x, v, reversed, target), report.fits = errors.best().convention;
  }
  report.time_response = std::sqrt(response / answers);
  report.problem = detail::problem_of(report, errors);
  if (report.consistent()) report.hint = detail::hint_of(report, given);
  return report;
}

namespace detail {

/// A number with three digits, in a column.
inline std::string column_of(double value) {
  constexpr std::size_t width = 10;
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::general, 3).ptr;
  const auto length = static_cast<std::size_t>(end - buffer);
  return std::string(length < width ? width - length : 0, ' ').append(buffer, length);
}
inline std::string columns_of(const batch_moments& of) {
  return column_of(of.mean) + column_of(of.std) + column_of(of.min) + column_of(of.max);
}

}  // namespace detail

/// A table of the steps, and what looks wrong.
inline std::string to_string(const model_report& report) {
  std::string text =
      "     sigma | x:  mean       std       min       max | predicted data: mean std min max           |"
      "    change     error\n";
  for (const model_check_step& step : report.steps) {
    text += detail::column_of(step.sigma) + detail::columns_of(step.x) + " |" +
            detail::columns_of(step.data) + " |" + detail::column_of(step.change) +
            detail::column_of(step.error) + '\n';
  }
  text += "   samples" + detail::columns_of(report.samples) + '\n';
  if (!report.consistent()) return text + "problem: " + report.problem + '\n';
  return text + (report.hint.empty() ? "nothing looks wrong" : "hint: " + report.hint) + '\n';
}

/// Writes to_string(report).
template <class Traits>
std::basic_ostream<char, Traits>& operator<<(std::basic_ostream<char, Traits>& out,
                                             const model_report& report) {
  return out << to_string(report);
}

TEMPFLOW_NEEDS_BACKEND(check_model);

}  // namespace tempflow
