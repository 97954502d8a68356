// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <tempflow/cuda.hpp>

/// log p(y | x, v) of each row.
void score(const tempflow::cuda_backend& gpu, tempflow::batch_view<const float> x,
           tempflow::batch_view<const float> v, tempflow::batch_view<const float> y,
           const tempflow::transition& step, std::span<double> log_probs);
