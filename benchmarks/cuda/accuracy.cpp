// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "accuracy.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tempflow/backend/cpu.hpp"

namespace bench {
namespace {

struct squares {
  double difference = 0, exact = 0;
};

/// For each row: what row(i) returns. Rows go to all processors.
template <class Result, class Row>
std::vector<Result> of_rows(tf::index_t rows, const Row& row) {
  std::vector<Result> all(static_cast<std::size_t>(rows));
  const tf::cpu_backend cpu;
  cpu.for_each_index(rows, [&](tf::index_t i) { all[static_cast<std::size_t>(i)] = row(i); });
  return all;
}

double relative(const std::vector<squares>& rows) {
  squares all;
  for (const auto& row : rows) all.difference += row.difference, all.exact += row.exact;
  return std::sqrt(all.difference / all.exact);
}

double largest(const std::vector<double>& values) { return *std::max_element(values.begin(), values.end()); }

template <class T>
double residual(const T* x, const T* v, const T* y, const tf::transition& step, tf::index_t e) {
  return double{tf::load(y[e])} - step.alpha * double{tf::load(x[e])} - step.beta * double{tf::load(v[e])};
}

template <class T>
double log_prob(const T* x, const T* v, const T* y, const tf::transition& step, tf::index_t columns) {
  double sum = 0;
  for (tf::index_t e = 0; e < columns; ++e) {
    const double r = residual(x, v, y, step, e);
    sum += r * r;
  }
  return -sum / static_cast<double>(columns) / (2 * step.std * step.std) - std::log(step.std) -
         0.5 * std::log(2 * std::numbers::pi);
}

/// The numbers that a sampler returned, against the log-probs of the states y that it stored.
template <class T>
double sampled(const task& t, const host_data<T>& given, const tf::batch_buffer<T>& y,
               const std::vector<double>& numbers) {
  const tf::index_t siblings = y.rows() / t.rows;
  return largest(of_rows<double>(y.rows(), [&](tf::index_t i) {
    const tf::index_t from = i / siblings;
    const double exact = log_prob(given.x.view().row(from), given.v.view().row(from), y.view().row(i),
                                  given.steps[static_cast<std::size_t>(from)], t.columns);
    return std::abs(numbers[static_cast<std::size_t>(i)] - exact);
  }));
}

template <class T>
double gradient(const task& t, const host_data<T>& given, const tf::batch_buffer<T>& out) {
  const auto objective = t.objective();
  return relative(of_rows<squares>(t.rows, [&](tf::index_t i) {
    const auto at = static_cast<std::size_t>(i);
    const tf::transition& step = given.steps[at];
    const T *const x = given.x.view().row(i), *const v = given.v.view().row(i),
                   *const y = given.y.view().row(i),
                   *const v_ref = given.v_ref.rows() > 0 ? given.v_ref.view().row(i) : v;
    const double ratio = std::exp(log_prob(x, v, y, step, t.columns) - given.old_log_probs[at]),
                 advantage = given.advantages[at], plain = -advantage * ratio,
                 clipped = -advantage * std::clamp(ratio, 1 - objective.clip.low, 1 + objective.clip.high),
                 scale = t.gradient_scale() / (static_cast<double>(t.elements()) * step.std * step.std),
                 of_residual = (plain >= clipped ? plain : 0) * step.beta * scale,
                 of_reference = objective.kl_beta * step.beta * step.beta * scale;
    squares row;
    for (tf::index_t e = 0; e < t.columns; ++e) {
      const double exact = of_residual * residual(x, v, y, step, e) +
                           of_reference * (double{tf::load(v[e])} - double{tf::load(v_ref[e])}),
                   difference = double{tf::load(out.view().row(i)[e])} - exact;
      row.difference += difference * difference, row.exact += exact * exact;
    }
    return row;
  }));
}

template <class T>
double average(const task& t, const host_data<T>& given, const tf::batch_buffer<T>& out) {
  return relative(of_rows<squares>(t.rows, [&](tf::index_t i) {
    squares row;
    for (tf::index_t e = 0; e < t.columns; ++e) {
      const double exact = ema_decay * double{tf::load(given.x.view().row(i)[e])} +
                           (1 - ema_decay) * double{tf::load(given.v.view().row(i)[e])};
      const double difference = double{tf::load(out.view().row(i)[e])} - exact;
      row.difference += difference * difference, row.exact += exact * exact;
    }
    return row;
  }));
}

double advantages(const std::vector<double>& rewards, const std::vector<double>& numbers) {
  double worst = 0;
  for (std::size_t first = 0; first < rewards.size(); first += group_size) {
    long double sum = 0, squared = 0;
    const std::size_t last = std::min(first + group_size, rewards.size());
    const auto count = static_cast<long double>(last - first);
    for (std::size_t i = first; i < last; ++i) sum += rewards[i];
    for (std::size_t i = first; i < last; ++i)
      squared += (rewards[i] - sum / count) * (rewards[i] - sum / count);
    const long double spread = std::sqrt(squared / count) + tf::advantage_options{}.epsilon;
    for (std::size_t i = first; i < last; ++i) {
      const auto exact = static_cast<double>((rewards[i] - sum / count) / spread);
      worst = std::max(worst, std::abs(numbers[i] - exact));
    }
  }
  return worst;
}

}  // namespace

template <class T>
double error_against_double(const task& t, const host_data<T>& given, const tf::batch_buffer<T>& out,
                            const tf::batch_buffer<T>& branches, const std::vector<double>& numbers) {
  switch (t.what) {
    case kernel::log_prob: return sampled(t, given, given.y, numbers);
    case kernel::policy_loss:
    case kernel::policy_loss_kl: return gradient(t, given, out);
    case kernel::step: return sampled(t, given, out, numbers);
    case kernel::branch_step: return sampled(t, given, branches, numbers);
    case kernel::ema: return average(t, given, out);
    case kernel::group_advantages: return advantages(given.rewards, numbers);
  }
  return 0;
}

template double error_against_double(const task&, const host_data<float>&, const tf::batch_buffer<float>&,
                                     const tf::batch_buffer<float>&, const std::vector<double>&);
template double error_against_double(const task&, const host_data<tf::bfloat16>&,
                                     const tf::batch_buffer<tf::bfloat16>&,
                                     const tf::batch_buffer<tf::bfloat16>&, const std::vector<double>&);
template double error_against_double(const task&, const host_data<tf::float16>&,
                                     const tf::batch_buffer<tf::float16>&,
                                     const tf::batch_buffer<tf::float16>&, const std::vector<double>&);

}  // namespace bench
