// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What is measured: a kernel, a storage type, a size. And the kernels' names for it, the same text for the cpu
// backend, which gives the answers, and for the device, which is timed.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/batch_view.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/ema_update.hpp"
#include "tempflow/ops/log_prob.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/ops/step.hpp"

namespace bench {

namespace tf = tempflow;

enum class kernel { log_prob, policy_loss, policy_loss_kl, step, branch_step, ema, group_advantages };
enum class storage { f32, bf16, f16, f64 };

inline constexpr std::string_view kernel_names[] = {"log_prob",    "policy_loss", "policy_loss_kl",  "step",
                                                    "branch_step", "ema",         "group_advantages"};
inline constexpr std::string_view storage_names[] = {"f32", "bf16", "f16", "f64"};

/// branch_step's K.
inline constexpr tf::index_t explorations = 6;

/// Samples of a group in group_advantages.
inline constexpr tf::index_t group_size = 8;

/// Of ema.
inline constexpr double ema_decay = 0.9;

struct task {
  kernel what;
  storage type;
  tf::index_t rows, columns;

  friend bool operator==(const task&, const task&) = default;

  tf::index_t elements() const { return rows * columns; }

  bool is_policy_loss() const { return what == kernel::policy_loss || what == kernel::policy_loss_kl; }

  /// What has to move: each input once, each output once, without the numbers per row.
  std::size_t bytes() const {
    constexpr std::size_t sizes[] = {4, 2, 2, 8};
    constexpr std::size_t batches[] = {3, 4, 5, 3, 3 + explorations, 3, 3};
    return static_cast<std::size_t>(elements()) * sizes[static_cast<int>(type)] *
           batches[static_cast<int>(what)];
  }

  /// Loss scaling, without which fp16 gradients vanish.
  double gradient_scale() const { return type == storage::f16 ? static_cast<double>(elements()) : 1; }

  /// Those of policy_loss; the clip range is narrow, as in the published configurations.
  tf::clipped_grpo objective() const {
    return {.clip = {1e-4, 1e-4}, .kl_beta = what == kernel::policy_loss_kl ? 0.04 : 0};
  }
};

/// Memory that a kernel works on, the host's or the device's. What it has no use for is empty.
template <class T>
struct arguments {
  tf::batch_view<const T> x, v, y, v_ref;  ///< ema: the average before, v the weights
  tf::batch_view<T> out;                   ///< y, the gradient, the trunk, or ema's average
  tf::batch_view<T> branches;
  std::span<const tf::transition> steps, trunk_steps;
  std::span<const tf::noise_id> ids;
  std::span<const double> old_log_probs, advantages, rewards;
  std::span<const std::int64_t> groups;
  std::span<double> numbers;  ///< log-probs, or advantages
  std::span<tf::policy_row> rows;
};

inline constexpr tf::noise_key key{.seed = 2024};

/// Calls the kernel once: all of them but group_advantages, which has another form on the host.
template <class Place, class T>
void call(const Place& backend, const task& t, const arguments<T>& a) {
  switch (t.what) {
    case kernel::log_prob: return tf::log_prob(backend, a.x, a.v, a.y, a.steps, a.numbers);
    case kernel::policy_loss:
    case kernel::policy_loss_kl: {
      const tf::policy_batch<T> batch{.x = a.x,
                                      .y = a.y,
                                      .transitions = a.steps,
                                      .old_log_probs = a.old_log_probs,
                                      .advantages = a.advantages,
                                      .gradient_scale = t.gradient_scale()};
      return tf::policy_loss_rows(backend, batch, a.v, a.v_ref, t.objective(), a.out, a.rows);
    }
    case kernel::step: return tf::step(backend, a.x, a.v, a.steps, {key, a.ids}, a.out, a.numbers);
    case kernel::branch_step:
      return tf::branch_step(backend, a.x, a.v, a.trunk_steps, a.steps, {key, a.ids}, a.out, a.branches,
                             a.numbers);
    case kernel::ema: {
      const auto size = static_cast<std::size_t>(t.elements());
      return tf::ema_update(backend, std::span<T>(a.out.data(), size), std::span<const T>(a.v.data(), size),
                            ema_decay);
    }
    case kernel::group_advantages: return;
  }
}

/// A kernel with its data on the device.
class problem {
 public:
  problem() = default;
  problem(const problem&) = delete;
  problem& operator=(const problem&) = delete;
  virtual ~problem() = default;

  /// Calls it once, in stream order. Nothing waits.
  virtual void enqueue() = 0;

  /// Calls it once and compares with the cpu backend. Empty, or what is wrong.
  virtual std::string check() = 0;

  /// Against the formula in double, of the call that check() made.
  virtual double error() const = 0;

  /// Bytes of device memory that a call needs beside its inputs: results and workspace.
  virtual std::size_t memory() const = 0;
};

}  // namespace bench
