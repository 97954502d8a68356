// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A CPU backend on torch's own threads, so that no second pool waits beside them.

#include <ATen/Parallel.h>

#include "tempflow/backend/executor.hpp"
#include "tempflow/core/index.hpp"

#if AT_PARALLEL_OPENMP && !defined(_OPENMP)
#error \
    "tempflow: torch's threads are OpenMP's, and at::parallel_for is compiled with its callers: add -fopenmp"
#endif

namespace tempflow {

/// at::parallel_for, an executor: as many threads as at::set_num_threads says. Nested in one of torch's own loops it runs
/// serially.
struct torch_threads {
  index_t threads() const { return at::get_num_threads(); }

  template <class Body>
  void parallel_for(index_t count, const Body& body) const {
    at::parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) body(i);
    });
  }
};

/// The backend. Its results have the bits of cpu_backend.
inline executor_backend<const torch_threads> torch_backend(
    instruction_set at_most = instruction_set::avx512) {
  static constexpr torch_threads threads;
  return executor_backend<const torch_threads>(threads, at_most);
}

}  // namespace tempflow
