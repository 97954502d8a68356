// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// docs/how-to/masks.md

#include <algorithm>
#include <cstdint>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "how_to.hpp"

namespace tf = tempflow;

bool masks() {
  constexpr tf::index_t samples = 6, frame = 256, elements = 4 * frame;
  const tf::cpu_backend cpu;
  const auto chain = tf::make_chain(tf::sd3_sigmas(10), tf::flow_sde{});
  std::vector<tf::noise_id> ids(samples);
  for (std::uint32_t i = 0; i < samples; ++i) ids[i].seed = i;
  tf::batch_buffer<float> x(samples, elements), v(samples, elements), y(samples, elements),
      gradient(samples, elements);
  tf::fill_noise(cpu, {tf::noise_key{.seed = 1}, ids}, x);

  // The first of four frames is given: its elements do not count.
  std::vector<std::uint8_t> bytes(elements, 1);
  std::fill_n(bytes.begin(), frame, std::uint8_t{0});
  const tf::element_mask mask(bytes.data(), 1, elements);  // one row, for all samples

  std::vector<double> log_probs(samples);
  tf::step(cpu, x, v, chain[3], {tf::noise_key{.seed = 2}, ids}, y, log_probs, {}, mask);

  const double advantages[] = {1, -1, 1, -1, 1, -1};
  tf::policy_batch<float> batch;
  batch.x = x;
  batch.y = y;
  batch.transitions = chain[3];
  batch.mask = mask;
  batch.old_log_probs = log_probs;
  batch.advantages = advantages;
  const auto statistics =
      tf::policy_loss(cpu, batch, v, {}, {}, tf::as_row_objective(tf::clipped_grpo{}), gradient);

  for (tf::index_t i = 0; i < samples; ++i) {
    const float *before = x.view().row(i), *after = y.view().row(i), *slope = gradient.view().row(i);
    for (tf::index_t e = 0; e < elements; ++e) {
      const bool kept = after[e] == before[e], taught = slope[e] != 0;
      if (e < frame ? !kept || taught : kept || !taught) return false;
    }
  }
  return statistics.max_abs_log_ratio == 0;
}
