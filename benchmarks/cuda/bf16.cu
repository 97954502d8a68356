// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "tempflow/cuda.cuh"

#include "make_problem.hpp"

namespace bench {

template <>
std::unique_ptr<problem> make_problem<tempflow::bfloat16>(const task& t,
                                                          const tempflow::cuda_backend& backend) {
  return std::make_unique<device_problem<tempflow::bfloat16, tempflow::cuda_device>>(t, backend);
}

}  // namespace bench
