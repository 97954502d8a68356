// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// ema_update on host backends.

#include <algorithm>

#include "tempflow/backend/dispatch.hpp"
#include "tempflow/ops/detail/ema_blend.hpp"
#include "tempflow/ops/detail/operations.hpp"

namespace tempflow::detail {

template <class Arithmetic, storage_scalar T>
struct ema_update_block {
  using kernel_tag = kernel;

  const ema_update_op<T>& op;
  double decay;

  static constexpr index_t size = 16384;

  double nanoseconds() const { return 0.3 * static_cast<double>(size); }

  void operator()(index_t block) const {
    using real = typename Arithmetic::template real<T>;
    const ema_blend<real> blend(decay);
    const auto first = static_cast<std::size_t>(block * size);
    const std::size_t last = (std::min)(first + static_cast<std::size_t>(size), op.average.size());
    for (std::size_t i = first; i < last; ++i) {
      op.average[i] = store<T>(blend(real{load(op.average[i])}, real{load(op.weights[i])}));
    }
  }
};

template <host_backend B, storage_scalar T>
void run(const operation_arguments<B>& arguments, const ema_update_op<T>& op) {
  using block = ema_update_block<typename B::arithmetic, T>;
  const auto size = static_cast<index_t>(op.average.size());
  arguments.backend().for_each_index((size + block::size - 1) / block::size, block{op, *op.decay});
}

}  // namespace tempflow::detail
