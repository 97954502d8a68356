// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The flow of Gaussian data, in closed form, as models of every convention predict it.

#include <algorithm>
#include <cmath>
#include <span>

#include "support/batches.hpp"
#include "tempflow/rollout/model_adapters.hpp"

namespace support {

/// What a flow with the posterior mean data(x, sigma) predicts; at sigma > 0.
template <class Flow>
struct predictions_of {
  double noise(double x, double sigma) const { return (x - (1 - sigma) * self().data(x, sigma)) / sigma; }
  double velocity(double x, double sigma) const { return (x - self().data(x, sigma)) / sigma; }

  double predicted(tempflow::prediction what, double x, double sigma) const {
    switch (what) {
      case tempflow::prediction::data_minus_noise: return -velocity(x, sigma);
      case tempflow::prediction::data: return self().data(x, sigma);
      case tempflow::prediction::noise: return noise(x, sigma);
      case tempflow::prediction::velocity: break;
    }
    return velocity(x, sigma);
  }

 private:
  const Flow& self() const { return static_cast<const Flow&>(*this); }
};

/// Elements of the data are independent N(mean, std^2).
struct gaussian_flow : predictions_of<gaussian_flow> {
  double mean = 0, std = 1;

  gaussian_flow() = default;
  gaussian_flow(double of_mean, double of_std) : mean(of_mean), std(of_std) {}

  /// E[data | x] = mean + (1 - sigma) std^2 / V (x - (1 - sigma) mean), V = (1 - sigma)^2 std^2 + sigma^2.
  double data(double x, double sigma) const {
    const double kept = 1 - sigma, variance = kept * kept * std * std + sigma * sigma;
    return mean + kept * std * std / variance * (x - kept * mean);
  }
  double sample(double normal, double) const { return mean + std * normal; }
};

/// Elements of the data are independent, half of them N(apart, std^2), half N(-apart, std^2).
struct two_peaks : predictions_of<two_peaks> {
  double apart = 1, std = 0.1;

  two_peaks(double half_distance, double of_std) : apart(half_distance), std(of_std) {}

  /// The means of both peaks' posteriors by their shares.
  double data(double x, double sigma) const {
    const double kept = 1 - sigma, variance = kept * kept * std * std + sigma * sigma;
    const double share = 1 / (1 + std::exp(-2 * kept * apart * x / variance));
    return gaussian_flow(apart, std).data(x, sigma) * share +
           gaussian_flow(-apart, std).data(x, sigma) * (1 - share);
  }
  double sample(double normal, double other) const { return (other > 0 ? apart : -apart) + std * normal; }
};

/// Guidance of the given scale towards the upper one of two peaks: data + scale (data of that peak - data). Its
/// samples are those that the prompt describes.
struct guided_peak : predictions_of<guided_peak> {
  double apart = 1, std = 0.1, scale = 1;

  guided_peak(double half_distance, double of_std, double of_guidance)
      : apart(half_distance), std(of_std), scale(of_guidance) {}

  double data(double x, double sigma) const {
    const double of_both = two_peaks(apart, std).data(x, sigma);
    return of_both + scale * (gaussian_flow(apart, std).data(x, sigma) - of_both);
  }
  double sample(double normal, double) const { return apart + std * normal; }
};

/// A host's model of a flow (what has the three predictions) in a convention of its own. A time that is none of its
/// own is taken for the nearest that is.
template <class T, class Flow>
auto convention_model(index_t dimension, const Flow& flow, const tempflow::model_convention& of) {
  return tempflow::flow_model<T>(dimension, [=](batch_view<const T> x, std::span<const double> time,
                                                std::span<const index_t>, batch_view<T> out) {
    for (index_t i = 0; i < x.rows(); ++i) {
      const double sigma = std::clamp(
          (time[static_cast<std::size_t>(i)] - of.time_at_data) / (of.time_at_noise - of.time_at_data), 1e-4,
          1.0);
      for (index_t e = 0; e < dimension; ++e) {
        out.row(i)[e] = tempflow::store<T>(flow.predicted(of.predicts, value_of(x.row(i)[e]), sigma));
      }
    }
  });
}

}  // namespace support
