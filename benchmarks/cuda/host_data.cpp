// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "host_data.hpp"

#include <cmath>
#include <sstream>

#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/schedule/dynamics.hpp"

namespace bench {
namespace {

const tf::cpu_backend& host() {
  static const tf::cpu_backend all_threads;
  return all_threads;
}

std::size_t size(tf::index_t count) { return static_cast<std::size_t>(count); }

template <class T>
tf::batch_buffer<T> normals(const task& t, std::uint32_t seed) {
  std::vector<tf::noise_id> ids(size(t.rows));
  for (std::uint32_t i = 0; auto& id : ids) id.seed = i++;
  tf::batch_buffer<T> drawn(t.rows, t.columns);
  tf::fill_noise(host(), {tf::noise_key{.seed = seed}, ids}, drawn.view());
  return drawn;
}

/// base + 0.2 normals: a reference policy not far from the policy.
template <class T>
tf::batch_buffer<T> near(const task& t, const tf::batch_buffer<T>& base, std::uint32_t seed) {
  auto moved = normals<T>(t, seed);
  host().for_each_index(t.rows, [&](tf::index_t i) {
    for (tf::index_t e = 0; e < t.columns; ++e) {
      T& element = moved.view().row(i)[e];
      element = tf::store<T>(tf::load(base.view().row(i)[e]) + 0.2f * tf::load(element));
    }
  });
  return moved;
}

/// A sentence for a number that is not where it should be, NaN included; empty for one that is.
std::string off(std::string_view what, tf::index_t at, double actual, double expected, double tolerance) {
  if (std::abs(actual - expected) <= tolerance) return {};
  std::ostringstream text;
  text.precision(9);
  text << what << "[" << at << "] is " << actual << ", the cpu backend has " << expected;
  return text.str();
}

/// Two units in the last place, and what such a unit of an operand leaves where elements cancel.
template <class T>
std::string off(std::string_view what, const tf::batch_buffer<T>& actual,
                const tf::batch_buffer<T>& expected) {
  constexpr double unit = std::same_as<T, float> ? 0x1p-23 : std::same_as<T, tf::bfloat16> ? 0x1p-7 : 0x1p-10;
  for (tf::index_t i = 0; i < expected.rows(); ++i) {
    const T *const a = actual.view().row(i), *const b = expected.view().row(i);
    double largest = 0;
    for (tf::index_t e = 0; e < expected.columns(); ++e)
      largest = std::max(largest, std::abs(double{tf::load(b[e])}));
    for (tf::index_t e = 0; e < expected.columns(); ++e) {
      const double want = tf::load(b[e]);
      auto wrong = off(what, i * expected.columns() + e, tf::load(a[e]), want,
                       2 * unit * std::abs(want) + 0x1p-20 * largest);
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

}  // namespace

template <class T>
host_data<T>::host_data(const task& t) {
  make_inputs(t);
  call(host(), t,
       arguments<T>{.x = x,
                    .v = v,
                    .y = y,
                    .v_ref = v_ref,
                    .out = out,
                    .branches = branches,
                    .steps = steps,
                    .trunk_steps = trunk_steps,
                    .ids = ids,
                    .old_log_probs = old_log_probs,
                    .advantages = advantages,
                    .rewards = rewards,
                    .groups = groups,
                    .numbers = numbers,
                    .rows = rows});
}

template <class T>
void host_data<T>::make_inputs(const task& t) {
  if (t.what == kernel::group_advantages) {
    for (tf::index_t i = 0; i < t.elements(); ++i) {
      rewards.push_back(std::sin(static_cast<double>(i)));
      groups.push_back(i / group_size);
    }
    numbers = tf::group_advantages(rewards, groups).values;
    return;
  }
  x = normals<T>(t, 1);
  v = normals<T>(t, 2);
  if (t.what == kernel::ema) {
    out = x;
    return;
  }
  const tf::transition step = tf::flow_sde{.noise_level = 0.7}({.sigma = 0.8, .sigma_next = 0.7});
  steps.assign(size(t.rows), step);
  for (tf::index_t i = 0; i < t.rows; ++i)
    ids.push_back({.prompt = static_cast<std::uint32_t>(i / 4), .seed = static_cast<std::uint32_t>(i % 4)});
  numbers.resize(size(t.rows));
  if (t.what != kernel::log_prob) out = tf::batch_buffer<T>(t.rows, t.columns);
  if (t.what == kernel::step) return;
  if (t.what == kernel::branch_step) {
    trunk_steps.assign(size(t.rows), {.alpha = 1, .beta = -step.dt});
    branches = tf::batch_buffer<T>(t.rows * explorations, t.columns);
    numbers.resize(size(t.rows * explorations));
    return;
  }
  // y is drawn from the transition; old log-probs put the ratios below, on and above the clip range.
  y = tf::batch_buffer<T>(t.rows, t.columns);
  tf::step(host(), std::as_const(x).view(), v, steps, {key, ids}, y, numbers);
  if (!t.is_policy_loss()) return;
  for (tf::index_t i = 0; i < t.rows; ++i) {
    old_log_probs.push_back(numbers[size(i)] + 5e-4 * static_cast<double>(i % 3 - 1));
    advantages.push_back(i % 2 == 0 ? 0.75 : -1.25);
  }
  numbers.clear();
  rows.resize(size(t.rows));
  if (t.what == kernel::policy_loss_kl) v_ref = near(t, v, 3);
}

template <class T>
std::string host_data<T>::compare(const tf::batch_buffer<T>& device_out,
                                  const tf::batch_buffer<T>& device_branches,
                                  const std::vector<double>& device_numbers,
                                  const std::vector<tf::policy_row>& device_rows) const {
  constexpr double tolerance = 1e-12;
  std::string wrong = off("out", device_out, out);
  if (wrong.empty()) wrong = off("branches", device_branches, branches);
  for (std::size_t i = 0; i < numbers.size() && wrong.empty(); ++i)
    wrong = off("number", static_cast<tf::index_t>(i), device_numbers[i], numbers[i], tolerance);
  for (std::size_t i = 0; i < rows.size() && wrong.empty(); ++i) {
    const tf::policy_row &a = device_rows[i], &b = rows[i];
    const auto at = static_cast<tf::index_t>(i);
    wrong = off("log-prob", at, a.log_prob, b.log_prob, tolerance);
    if (wrong.empty()) wrong = off("ratio", at, a.ratio, b.ratio, tolerance);
    if (wrong.empty()) wrong = off("surrogate", at, a.surrogate, b.surrogate, tolerance);
    if (wrong.empty()) wrong = off("KL", at, a.kl, b.kl, tolerance);
    if (wrong.empty()) wrong = off("finite", at, a.finite, 1, 0);
  }
  return wrong;
}

template class host_data<float>;
template class host_data<tf::bfloat16>;
template class host_data<tf::float16>;

}  // namespace bench
