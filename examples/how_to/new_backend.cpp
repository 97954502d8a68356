// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/new-backend.md

#include <tempflow/tempflow.hpp>
#include <vector>

#include "how_to.hpp"

namespace tf = tempflow;

// Rows in reverse, one after another.
struct backwards {
  using arithmetic =
      tf::tiled_arithmetic;  // fp32 for rows of 32 bits and less, summed in tiles: cpu_backend's bits

  void for_each_index(tf::index_t count, const auto& body) const {
    const auto fast = tf::dispatch(body);  // its version for this processor's instructions
    for (tf::index_t i = count; i-- > 0;) fast(i);
  }
};
static_assert(tf::host_backend<backwards>);

static std::vector<double> scored_on(const auto& backend) {
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{});
  const tf::batch_buffer<float> x(4, 4096), v(4, 4096), y(4, 4096);
  std::vector<double> log_probs(4);
  tf::log_prob(backend, x, v, y, chain[3], log_probs);
  return log_probs;
}

bool new_backend() { return scored_on(backwards{}) == scored_on(tf::cpu_backend{}); }
