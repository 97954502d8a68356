// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/tempflow.hpp>

#include "network.hpp"

namespace fashion {

/// The network with one set of weights, as the library's rollouts take it. Refers to its arguments.
class policy {
 public:
  using value_type = float;

  policy(const tempflow::cpu_backend& cpu, const velocity_network& network, const vector& weights)
      : cpu_{cpu}, network_{network}, weights_{weights} {}

  tempflow::index_t dimension() const { return network_.dimension(); }

  void velocity(tempflow::batch_view<const float> x, std::span<const double> sigma,
                std::span<const tempflow::index_t> prompts, tempflow::batch_view<float> v) const {
    network_.velocity(cpu_, weights_, x, sigma, prompts, v);
  }

 private:
  const tempflow::cpu_backend& cpu_;
  const velocity_network& network_;
  const vector& weights_;
};

static_assert(tempflow::velocity_model<policy>);

/// Noise streams of a run besides those of its updates, which are numbered from 0.
inline constexpr std::uint32_t evaluation_noise = 0xffffffff;

}  // namespace fashion
