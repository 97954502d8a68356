// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The parts that sigma grids are made of: equally spaced points, a time shift, a stretch, a final zero. A model's
// grid is their composition (schedule/sigmas.hpp), and so is one of the user's own:
//
//   with_final_zero(exponential_shift(linear_points(1, 1.0 / steps, steps), mu))
//
// A grid is a plain std::vector<double> of descending noise levels, T + 1 knots for T steps.

#include <span>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/numeric.hpp"
#include "tempflow/schedule/time_shift.hpp"

namespace tempflow {

/// Throws schedule_error unless the grid has at least two knots, starts at 1 or below, descends strictly and
/// ends at 0 or above, all finite. The message names the knot.
inline void check_sigmas(std::span<const double> sigmas) {
  if (sigmas.size() < 2) {
    throw schedule_error(
        detail::message("sigmas: ", sigmas.size(), " knots, at least 2 are needed for a step"));
  }
  for (std::size_t i = 0; i < sigmas.size(); ++i) {
    if (!is_finite(sigmas[i]) || sigmas[i] < 0 || sigmas[i] > 1) {
      throw schedule_error(detail::message("sigmas[", i, "] = ", sigmas[i], ", must lie in [0, 1]"));
    }
    if (i > 0 && sigmas[i] >= sigmas[i - 1]) {
      throw schedule_error(detail::message("sigmas[", i, "] = ", sigmas[i], " does not descend from sigmas[",
                                           i - 1, "] = ", sigmas[i - 1]));
    }
  }
}

/// count equally spaced points from first to last, both included and exact; of one point, first. Throws
/// value_error for a count < 1 and for ends outside [0, 1]. Source: numpy.linspace.
inline std::vector<double> linear_points(double first, double last, index_t count) {
  detail::check_level("linear_points: first", first, 1);
  detail::check_level("linear_points: last", last, 1);
  detail::check_count("linear_points: count", count, 1);
  std::vector<double> points{first};
  for (index_t i = 1; i + 1 < count; ++i) {
    points.push_back(first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1));
  }
  if (count > 1) points.push_back(last);
  return points;
}

/// Each point under the time shift of that name (schedule/time_shift.hpp), whose errors it throws.
inline std::vector<double> static_shift(std::vector<double> points, double shift) {
  for (double& t : points) t = static_shift(t, shift);
  return points;
}

/// As static_shift of points, by the exponential shift.
inline std::vector<double> exponential_shift(std::vector<double> points, double mu) {
  for (double& t : points) t = exponential_shift(t, mu);
  return points;
}

/// As static_shift of points, by the linear shift.
inline std::vector<double> linear_shift(std::vector<double> points, double mu) {
  for (double& t : points) t = linear_shift(t, mu);
  return points;
}

/// The points stretched about 1 so that the last is `terminal`: 1 - (1 - sigma) (1 - terminal) / (1 - last). Where
/// the last is 1 there is nothing to stretch. Throws value_error for no points, a point outside [0, 1] or below the
/// last, or a terminal outside (0, 1). Source: diffusers, FlowMatchEulerDiscreteScheduler, stretch_shift_to_terminal.
inline std::vector<double> stretch_to_terminal(std::vector<double> points, double terminal) {
  detail::check_count("stretch_to_terminal: points", static_cast<index_t>(points.size()), 1);
  if (!is_finite(terminal) || terminal <= 0 || terminal >= 1) {
    throw value_error(detail::message("stretch_to_terminal: terminal = ", terminal, ", must lie in (0, 1)"));
  }
  const double last = points.back();
  for (const double sigma : points) {
    detail::check_level("stretch_to_terminal: point", sigma, 1);
    if (sigma < last) {
      throw value_error(
          detail::message("stretch_to_terminal: point ", sigma, " lies below the last, ", last));
    }
  }
  if (last == 1) return points;
  for (double& sigma : points) sigma = 1 - (1 - sigma) * (1 - terminal) / (1 - last);
  return points;
}

/// The points, then 0.
inline std::vector<double> with_final_zero(std::vector<double> points) {
  points.push_back(0);
  return points;
}

}  // namespace tempflow
