// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/backend/cpu.hpp>

#include "autoencoder.hpp"
#include "classifier.hpp"
#include "data.hpp"
#include "network.hpp"
#include "options.hpp"

namespace fashion {

/// What fine-tuning starts from.
struct pretrained {
  autoencoder codec;  ///< between images and the flow's latents
  velocity_network network;
  vector weights;     ///< of the flow model: the average over its training
  classifier reward;  ///< scores samples in training
  classifier judge;   ///< another architecture and seed; only ever used to evaluate
};

/// Trains the autoencoder, the flow model and both classifiers, or reads them from the cache when they were
/// trained with the same settings before. A killed pre-training continues from its last checkpoint to the
/// same bits. Processes that share a cache take turns. Throws interrupted, with the flow model's checkpoint saved.
pretrained pretrain(const tempflow::cpu_backend& cpu, const options& settings, const dataset& data);

}  // namespace fashion
