// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <tempflow/device/device_backend.hpp>
#include <tempflow/tempflow.hpp>
#include <vector>

#include "device_adamw.hpp"
#include "device_network.hpp"
#include "recipe.hpp"
#include "update_report.hpp"

namespace fashion {

/// Scores finished latents, in host memory, against their prompts.
using latent_reward = std::function<std::vector<double>(tempflow::batch_view<const float> latents,
                                                        std::span<const tempflow::index_t> prompts)>;

/// In which calls a rollout asks the model.
enum class calls {
  wavefront,            ///< all rows that stand at a noise level together
  branch_after_branch,  ///< the trunk, and the branches of each step, alone: the published code's calls
};

/// What an update took.
struct update_cost {
  double rollout_seconds = 0, reward_seconds = 0, training_seconds = 0;
  tempflow::index_t rollout_calls = 0, rollout_evaluations = 0;  ///< counted as the rollout asks the model

  double seconds() const { return rollout_seconds + reward_seconds + training_seconds; }
};

/// fashion_mnist's trainer on a device: all but the reward stays in its memory.
///
/// Defined in finetuner.inl.hpp. Refers to its backend and products.
template <class Device, gemm Gemm>
class finetuner {
 public:
  using backend_type = tempflow::device_backend<Device>;

  finetuner(const backend_type& backend, const Gemm& multiply, const options& settings,
            std::span<const float> pretrained, latent_reward reward);

  /// One update: explore, score, credit, descend. Returns when the device is done.
  update_report update(calls order = calls::wavefront);

  /// Updates done.
  int updates() const { return updates_; }

  /// The average of the weights over training, copied to the host.
  std::vector<float> average() const;

  const update_cost& last_cost() const { return last_cost_; }

  /// How far the log-prob of a row ever was from the rollout's when training saw the row in another batch:
  /// matrix products promise no bits across batches. Rescoring mends it; compare it with the trust region.
  double largest_drift() const { return largest_drift_; }

 private:
  using buffer = tempflow::device_buffer<float, Device>;
  using network = device_network<Device, Gemm>;

  /// The model for the library, with one set of weights.
  auto model(const buffer& weights, calls order);

  /// Runs `work` to its end on the device; its seconds go to `spent`.
  template <class Work>
  auto timed(double& spent, const Work& work);

  const backend_type& backend_;
  recipe recipe_;
  network network_;
  latent_reward reward_;

  int updates_ = 0;
  buffer start_, weights_, average_, gradient_;
  device_adamw<Device> optimiser_;
  typename network::tape tape_, scratch_;
  update_cost last_cost_;
  double largest_drift_ = 0;
};

}  // namespace fashion
