// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What all translation units must agree on, whichever compiler builds them: sizes, alignments and layouts of the types, and one
// address for each function and constant.

#include <cstddef>
#include <cstdint>
#include <vector>

#include <tempflow/tempflow.hpp>

using layout = std::vector<std::uintptr_t>;

template <class... T>
void add_sizes(layout& to) {
  (to.insert(to.end(), {sizeof(T), alignof(T)}), ...);
}

static layout layout_here() {
  namespace tf = tempflow;
  layout all;
  add_sizes<tf::index_t, tf::bfloat16, tf::float16, tf::noise_id, tf::noise_key, tf::transition, tf::chain>(
      all);
  add_sizes<tf::batch_view<float>, tf::batch_buffer<double>, tf::element_mask, tf::sample_parts>(all);
  add_sizes<tf::reference_backend, tf::cpu_backend, tf::clipped_grpo, tf::policy_row>(all);
  add_sizes<tf::policy_batch<float>, tf::minibatch<tf::bfloat16>, tf::trajectories<float>, tf::branch_plan>(
      all);
  all.insert(all.end(), {offsetof(tf::noise_id, branch), offsetof(tf::noise_key, update),
                         offsetof(tf::transition, beta), offsetof(tf::transition, std),
                         offsetof(tf::policy_row, kl), offsetof(tf::clipped_grpo, kl_beta)});
  const auto add_address = [&all](auto* of) { all.push_back(reinterpret_cast<std::uintptr_t>(of)); };
  add_address(&tf::philox4x32);
  add_address(&tf::step_range);
  add_address(&tf::total_drift);
  add_address(&tf::not_a_number);
  add_address(&tf::version_major);
  return all;
}

layout layout_elsewhere();
