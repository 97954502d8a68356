// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The host's side of a problem: its inputs, and what the cpu backend makes of them.

#include <string>
#include <vector>

#include "task.hpp"

namespace bench {

template <class T>
class host_data {
 public:
  explicit host_data(const task& t);

  tf::batch_buffer<T> x, v, y, v_ref;
  std::vector<tf::transition> steps, trunk_steps;
  std::vector<tf::noise_id> ids;
  std::vector<double> old_log_probs, advantages, rewards;
  std::vector<std::int64_t> groups;

  /// The answers.
  tf::batch_buffer<T> out, branches;
  std::vector<double> numbers;
  std::vector<tf::policy_row> rows;

  /// Empty, or where these differ from the answers by more than a device's own logarithms and exponentials.
  std::string compare(const tf::batch_buffer<T>& device_out, const tf::batch_buffer<T>& device_branches,
                      const std::vector<double>& device_numbers,
                      const std::vector<tf::policy_row>& device_rows) const;

 private:
  void make_inputs(const task& t);
};

}  // namespace bench
