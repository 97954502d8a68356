// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rollouts under a condition that fixes a part of each state: image to video, whose first frame is given; inpainting.

#include "tempflow/core/batch_view.hpp"
#include "tempflow/core/element_mask.hpp"
#include "tempflow/core/scalar.hpp"

namespace tempflow {

/// Elements that every state of a rollout has from a condition, from the initial noise to the sample. They lie where the
/// rollout's states do, for a device backend in device memory, and must outlive the rollout and its minibatches.
template <storage_scalar T>
struct fixed_elements {
  element_mask mask = {};  ///< one row: elements that it leaves out are fixed; {}: none is
  batch_view<const T> values =
      {};  ///< P x D, a row for each prompt, or one row for all; read where elements are fixed
};

}  // namespace tempflow
