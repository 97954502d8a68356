// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <layout.hpp>
#include <span>
#include <tempflow/cuda.hpp>

/// log p(y | x, v) of each row.
void score(const tempflow::cuda_backend& gpu, tempflow::batch_view<const float> x,
           tempflow::batch_view<const float> v, tempflow::batch_view<const float> y,
           const tempflow::transition& step, std::span<double> log_probs);

/// What two units see, one compiled by a CUDA compiler.
struct cuda_layout {
  layout of_all = layout_here();
  layout of_cuda = [] {
    layout all;
    add_sizes<tempflow::cuda_backend, tempflow::cuda_device>(all);
    return all;
  }();

  friend bool operator==(const cuda_layout&, const cuda_layout&) = default;
};
cuda_layout layout_of_cuda_unit();
