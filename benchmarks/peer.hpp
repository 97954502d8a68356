// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a benchmark gives an implementation, and what it wants back. Standard C++17 types and no tempflow header: a
// peer is compiled with flags of its own, and must not bring a second version of tempflow's inline functions.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

using index = std::int64_t;

/// policy_loss_on_policy is policy_loss at log-ratios of exactly 0, as in the first update after a rollout; siblings
/// is that of `explorations` transitions which leave each row's state. guidance is of x, the conditional prediction, and
/// v, with the norms of tokens or without.
enum class kernel {
  step,
  branch_step,
  log_prob,
  policy_loss,
  policy_loss_on_policy,
  siblings,
  normals,
  group_advantages,
  guidance,
  guidance_with_norms
};
enum class storage { f32, bf16, f16, f64 };

constexpr std::string_view name_of(kernel k) {
  constexpr std::string_view names[] = {
      "step",     "branch_step", "log_prob",         "policy_loss", "policy_loss_on_policy",
      "siblings", "normals",     "group_advantages", "guidance",    "guidance_with_norms"};
  return names[static_cast<int>(k)];
}

constexpr std::string_view name_of(storage s) {
  constexpr std::string_view names[] = {"f32", "bf16", "f16", "f64"};
  return names[static_cast<int>(s)];
}

constexpr std::size_t size_of(storage s) { return s == storage::f32 ? 4 : s == storage::f64 ? 8 : 2; }

/// K of branch_step and siblings.
constexpr index explorations = 6;

/// w of guidance.
constexpr double guidance_scale = 4;

/// The transition of all rows: y = alpha x + beta v + std z. In a grid of sigmas beta = -dt factor.
struct transition {
  double alpha, beta, std, dt;
};

/// A problem but for its buffers. Lives as long as the operations that are made for it.
struct task {
  kernel what;
  storage type;
  index rows, columns;
  int threads;
  transition step;
  std::vector<double> old_log_probs, advantages;  ///< policy_loss: one per row; siblings: per transition
  double clip = 1e-4, advantage_clip = 5, kl_beta = 0.04;
  double gradient_scale = 1;  ///< loss scaling, without which fp16 gradients vanish
  index group_size = 8;       ///< group_advantages: samples of a group are neighbours
  /// Calls the body for each row, spread over the threads.
  std::function<void(index, const std::function<void(index)>&)> for_each_row;

  index elements() const { return rows * columns; }

  /// Of a token whose norm is preserved; 0 for linear guidance.
  index channels() const {
    if (what != kernel::guidance_with_norms) return 0;
    return columns % 64 == 0 ? 64 : columns;
  }
};

/// Packed batches of rows x columns elements: what is read, and what an operation may write to.
struct buffers {
  const void *x, *v, *y, *v_ref;
  void* out;       ///< y of step, trunk of branch_step, gradient of policy_loss, normals, advantages
  void* branches;  ///< explorations * rows rows: written by branch_step, read as y by siblings
};

/// Small results, and where the large ones are: in the buffers, unless an operation says otherwise.
struct results {
  std::vector<double> log_probs;  ///< sized by the caller
  double loss = 0;
  const void* out = nullptr;
  const void* branches = nullptr;
};

/// Runs a kernel on one set of buffers.
using operation = std::function<void(const buffers&, results&)>;

/// A kernel of an implementation in one storage type, and how to get it ready for a task.
struct offer {
  kernel what;
  storage type;
  operation (*make)(const task&);
};

/// An implementation of some of the kernels.
struct peer {
  std::string name;
  std::string about;  ///< version, and what a reader of its numbers should know
  std::vector<offer> offers;
  bool computes = true;  ///< and so can be checked
  int tuning_calls = 0;  ///< before an operation is as fast as it gets

  const offer* find(kernel what, storage type) const {
    if (what == kernel::policy_loss_on_policy) what = kernel::policy_loss;
    const auto found = std::find_if(offers.begin(), offers.end(),
                                    [&](const offer& o) { return o.what == what && o.type == type; });
    return found == offers.end() ? nullptr : &*found;
  }
};

/// All peers that this program was built with.
inline std::vector<peer>& peers() {
  static std::vector<peer> all;
  return all;
}

/// A unit adds its peers by global objects of this type, so that a peer is one file and one line of CMake.
struct registration {
  explicit registration(peer added) { peers().push_back(std::move(added)); }
};

/// First element of a row.
template <class T>
const T* row(const void* batch, const task& t, index i) {
  return static_cast<const T*>(batch) + i * t.columns;
}
template <class T>
T* row(void* batch, const task& t, index i) {
  return static_cast<T*>(batch) + i * t.columns;
}

/// What peers without a policy gradient of their own share: the log-prob of a row, from its sum of squared residuals.
inline double log_prob_of(const task& t, double squared_residual) {
  const double log_sqrt_two_pi = 0.91893853320467274178;
  return -squared_residual / (2 * t.step.std * t.step.std * static_cast<double>(t.columns)) -
         std::log(t.step.std) - log_sqrt_two_pi;
}

/// A row's part in the loss, and the two factors of its gradient: dL/dv = on_residual r + on_difference (v - v_ref).
struct row_loss {
  double loss, on_residual, on_difference;
};

inline row_loss loss_of(const task& t, index i, double squared_residual, double squared_difference) {
  const auto at = static_cast<std::size_t>(i);
  const double elements = static_cast<double>(t.columns), rows = static_cast<double>(t.old_log_probs.size());
  const double ratio = std::exp(log_prob_of(t, squared_residual) - t.old_log_probs[at]);
  const double advantage = std::clamp(t.advantages[at], -t.advantage_clip, t.advantage_clip);
  const double plain = -advantage * ratio, clipped = -advantage * std::clamp(ratio, 1 - t.clip, 1 + t.clip);
  const double variance = t.step.std * t.step.std, beta = t.step.beta;
  const double slope = plain >= clipped ? plain : 0;
  const double kl = beta * beta * squared_difference / (2 * variance * elements);
  const double scale = t.gradient_scale / (elements * rows * variance);
  return {(std::max(plain, clipped) + t.kl_beta * kl) / rows, slope * beta * scale,
          t.kl_beta * beta * beta * scale};
}

}  // namespace bench
