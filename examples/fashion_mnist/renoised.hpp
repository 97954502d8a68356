// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/tempflow.hpp>
#include <vector>

namespace fashion {

/// Finished samples, and how they are noised again.
struct renoised_samples {
  tempflow::batch_view<const float> x0;        ///< N x D, those of a prompt one after another
  std::span<const tempflow::index_t> prompts;  ///< N
  std::span<const double> advantages;          ///< N
  std::vector<double> levels;                  ///< noise levels to choose from
  tempflow::index_t levels_per_sample = 4;     ///< at most as many
  tempflow::noise_key key = {};                ///< of the choice and the noise
};

/// Batches of x_t = (1 - t) x0 + t z with y = x0 and the transition from t to the data, for objectives that train on
/// the forward process: each sample at several levels t, which lie evenly in the list from a drawn place on. z is
/// drawn by identity. Cut as minibatches are: options.size rows a batch, options.updates optimiser steps that share
/// out the samples of each prompt. old_log_probs are left to the caller.
std::vector<tempflow::minibatch<float>> renoised_batches(const tempflow::cpu_backend& cpu,
                                                         const renoised_samples& samples,
                                                         const tempflow::minibatch_options& options);

}  // namespace fashion
