// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Whether an operation did the work: everything is compared with the reference backend, or with its definition.

#include <cmath>
#include <sstream>
#include <tempflow/core/scalar.hpp>

#include "problem.hpp"

namespace bench {
namespace {

namespace tf = tempflow;

/// Absolute error of a log-prob, which is of order 1: sums of 262,144 squares one after another in fp32, as some peers
/// do, cost 4e-5.
constexpr double log_prob_tolerance = 2e-4;

/// Of one that was taken before y was rounded to 16 bits, as some peers do. bf16 moves an element by 0.003 standard
/// deviations of the step, at random; this is six times what is left of that in the mean of a row.
double rounded_log_prob_tolerance(const task& t) {
  const double rounding = size_of(t.type) == 2 ? 6 * 0.003 / std::sqrt(static_cast<double>(t.columns)) : 0;
  return log_prob_tolerance + rounding;
}

/// Error of a gradient relative to the largest element of its row: the ratio's error, and a unit in the last place of
/// storage, since two results that lie apart by a hair may be rounded to neighbours.
double gradient_tolerance(storage type) {
  switch (type) {
    case storage::bf16: return 0x1p-7 + log_prob_tolerance;
    case storage::f16: return 0x1p-10 + log_prob_tolerance;
    default: return log_prob_tolerance;
  }
}

double element(storage type, const void* batch, index e) {
  switch (type) {
    case storage::bf16: return tf::load(static_cast<const tf::bfloat16*>(batch)[e]);
    case storage::f16: return tf::load(static_cast<const tf::float16*>(batch)[e]);
    case storage::f64: return static_cast<const double*>(batch)[e];
    default: return static_cast<const float*>(batch)[e];
  }
}

/// A sentence for a number that is not where it should be, NaN included; empty for one that is.
std::string off(std::string_view what, double actual, double expected, double tolerance) {
  if (std::abs(actual - expected) <= tolerance) return {};
  std::ostringstream text;
  text << what << " is " << actual << ", expected " << expected << " +- " << tolerance;
  return text.str();
}

/// Mean and variance of numbers that should be independent standard normals: within 5 standard errors.
class normality {
 public:
  void add(double z) {
    ++count_;
    sum_ += z;
    squares_ += z * z;
  }

  std::string problem(double rounding = 0) const {
    const double n = static_cast<double>(count_), mean = sum_ / n;
    if (auto wrong = off("mean of the noise", mean, 0, 5 / std::sqrt(n) + rounding); !wrong.empty())
      return wrong;
    return off("variance of the noise", squares_ / n - mean * mean, 1, 5 * std::sqrt(2 / n) + rounding);
  }

 private:
  index count_ = 0;
  double sum_ = 0, squares_ = 0;
};

std::string check_normals(const task& t, const void* out) {
  normality noise;
  for (index e = 0; e < t.elements(); ++e) noise.add(element(t.type, out, e));
  return noise.problem();
}

/// Against the definition, in long double.
std::string check_advantages(const task& t, const double* rewards, const double* advantages) {
  for (index first = 0; first < t.elements(); first += t.group_size) {
    long double mean = 0, variance = 0;
    for (index i = 0; i < t.group_size; ++i)
      mean += rewards[first + i] / static_cast<long double>(t.group_size);
    for (index i = 0; i < t.group_size; ++i)
      variance +=
          (rewards[first + i] - mean) * (rewards[first + i] - mean) / static_cast<long double>(t.group_size);
    for (index i = 0; i < t.group_size; ++i) {
      const auto expected = (rewards[first + i] - mean) / (std::sqrt(variance) + 1e-4L);
      auto wrong = off("advantage", advantages[first + i], static_cast<double>(expected), 1e-9);
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

/// The reference backend's own operation.
operation reference(const task& t, kernel what) {
  const auto is =
      std::find_if(peers().begin(), peers().end(), [](const peer& p) { return p.name == "reference"; });
  return is->find(what, t.type)->make(t);
}

/// Each element against the reference's, relative to what it is made of.
std::string check_guidance(const task& t, const buffers& b, const void* out) {
  std::vector<std::byte> expected(static_cast<std::size_t>(t.elements()) * size_of(t.type));
  buffers other = b;
  other.out = expected.data();
  results none;
  reference(t, t.what)(other, none);
  for (index e = 0; e < t.elements(); ++e) {
    const double want = element(t.type, expected.data(), e);
    auto wrong =
        off("guided", element(t.type, out, e), want, gradient_tolerance(t.type) * (1 + std::abs(want)));
    if (!wrong.empty()) return wrong;
  }
  return {};
}

/// Exploration k of each row, copied together.
std::vector<std::byte> exploration(const task& t, const void* branches, index k) {
  const std::size_t bytes = static_cast<std::size_t>(t.columns) * size_of(t.type);
  const auto* const first = static_cast<const std::byte*>(branches);
  std::vector<std::byte> copy;
  for (index i = 0; i < t.rows; ++i) {
    const auto* const row = first + static_cast<std::size_t>(i * explorations + k) * bytes;
    copy.insert(copy.end(), row, row + bytes);
  }
  return copy;
}

}  // namespace

/// Log-probs of every `every`-th entry from `first` on are those of y, and y is a draw from the transition.
std::string problem::check_draw(const buffers& b, const void* y, const results& r, index first,
                                index every) const {
  buffers scored = b;
  scored.y = y;
  results expected;
  expected.log_probs.resize(static_cast<std::size_t>(task_.rows));
  reference(task_, kernel::log_prob)(scored, expected);
  const double tolerance = y == b.y ? log_prob_tolerance : rounded_log_prob_tolerance(task_);
  for (index i = 0; i < task_.rows; ++i) {
    auto wrong = off("log-prob", r.log_probs[static_cast<std::size_t>(first + i * every)],
                     expected.log_probs[static_cast<std::size_t>(i)], tolerance);
    if (!wrong.empty()) return wrong;
  }
  if (task_.what == kernel::log_prob) return {};
  normality noise;
  const transition& s = task_.step;
  for (index e = 0; e < task_.elements(); ++e) {
    const double mean = s.alpha * element(task_.type, b.x, e) + s.beta * element(task_.type, b.v, e);
    noise.add((element(task_.type, y, e) - mean) / s.std);
  }
  return noise.problem(size_of(task_.type) == 2 ? 1e-4 : 0);
}

std::string problem::check_gradient(const buffers& b, const results& r) const {
  std::vector<std::byte> gradient(static_cast<std::size_t>(task_.elements()) * size_of(task_.type));
  buffers other = b;
  other.out = gradient.data();
  results expected = empty_results();
  reference(task_, kernel::policy_loss)(other, expected);
  if (auto wrong = off("loss", r.loss, expected.loss, log_prob_tolerance); !wrong.empty()) return wrong;
  for (index i = 0; i < task_.rows;
       ++i) {  // row by row: where the ratio is clipped, the KL's small part is all
    double largest = 0, worst = 0;
    for (index e = i * task_.columns; e < (i + 1) * task_.columns; ++e) {
      const double want = element(task_.type, gradient.data(), e),
                   error = element(task_.type, r.out, e) - want;
      largest = std::max(largest, std::abs(want));
      worst = std::isnan(error) ? HUGE_VAL : std::max(worst, std::abs(error));
    }
    auto wrong = off("gradient's error, relative to the largest element of its row,", worst / largest, 0,
                     gradient_tolerance(task_.type));
    if (!wrong.empty()) return wrong;
  }
  return {};
}

/// The mean of K losses and gradients, of the k-th transitions of all states each.
std::string problem::check_siblings(const buffers& b, const results& r) const {
  std::vector<double> expected(static_cast<std::size_t>(task_.elements()));
  std::vector<std::byte> gradient(expected.size() * size_of(task_.type));
  double loss = 0;
  for (index k = 0; k < explorations; ++k) {
    task kth = task_;
    kth.old_log_probs.clear(), kth.advantages.clear();
    for (index i = 0; i < task_.rows; ++i) {
      const auto at = static_cast<std::size_t>(i * explorations + k);
      kth.old_log_probs.push_back(task_.old_log_probs[at]);
      kth.advantages.push_back(task_.advantages[at]);
    }
    const auto y = exploration(task_, b.branches, k);
    buffers other = b;
    other.y = y.data();
    other.out = gradient.data();
    results of_k;
    of_k.log_probs.resize(static_cast<std::size_t>(task_.rows));
    reference(kth, kernel::policy_loss)(other, of_k);
    loss += of_k.loss / explorations;
    for (std::size_t e = 0; e < expected.size(); ++e)
      expected[e] += element(task_.type, gradient.data(), static_cast<index>(e)) / explorations;
  }
  if (auto wrong = off("loss", r.loss, loss, log_prob_tolerance); !wrong.empty()) return wrong;
  double largest = 0, worst = 0;
  for (std::size_t e = 0; e < expected.size(); ++e) {
    largest = std::max(largest, std::abs(expected[e]));
    const double error = element(task_.type, r.out, static_cast<index>(e)) - expected[e];
    worst = std::isnan(error) ? HUGE_VAL : std::max(worst, std::abs(error));
  }
  return off("gradient's error, relative to its largest element,", worst / largest, 0,
             2 * gradient_tolerance(task_.type));
}

std::string problem::check(const operation& run) {
  const buffers b = next();
  results r = empty_results();
  r.out = b.out;
  r.branches = b.branches;
  run(b, r);
  switch (task_.what) {
    case kernel::step: return check_draw(b, r.out, r);
    case kernel::log_prob: return check_draw(b, b.y, r);
    case kernel::normals: return check_normals(task_, r.out);
    case kernel::group_advantages:
      return check_advantages(task_, static_cast<const double*>(b.x), static_cast<const double*>(r.out));
    case kernel::policy_loss:
    case kernel::policy_loss_on_policy: return check_gradient(b, r);
    case kernel::siblings: return check_siblings(b, r);
    case kernel::guidance:
    case kernel::guidance_with_norms: return check_guidance(task_, b, r.out);
    case kernel::branch_step:
      for (index k = 0; k < explorations; ++k) {
        auto wrong = check_draw(b, exploration(task_, r.branches, k).data(), r, k, explorations);
        if (!wrong.empty()) return wrong;
      }
      for (index e = 0; e < task_.elements(); ++e) {
        const double x = element(task_.type, b.x, e), v = element(task_.type, b.v, e);
        const double rounding = size_of(task_.type) == 2 ? 0x1p-6 : 1e-5;
        auto wrong = off("trunk", element(task_.type, r.out, e), x - task_.step.dt * v, rounding);
        if (!wrong.empty()) return wrong;
      }
      return {};
  }
  return {};
}

}  // namespace bench
