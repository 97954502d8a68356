// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A problem on the CUDA device, for storage type T; each is a CUDA source of its own, to compile side by side.

#include <memory>

#include "device_problem.hpp"
#include "tempflow/cuda.hpp"
#include "tempflow/cuda/group_advantages.hpp"

namespace bench {

template <class T>
std::unique_ptr<problem> make_problem(const task& t, const tempflow::cuda_backend& backend);

template <>
std::unique_ptr<problem> make_problem<float>(const task& t, const tempflow::cuda_backend& backend);
template <>
std::unique_ptr<problem> make_problem<tempflow::bfloat16>(const task& t,
                                                          const tempflow::cuda_backend& backend);
template <>
std::unique_ptr<problem> make_problem<tempflow::float16>(const task& t,
                                                         const tempflow::cuda_backend& backend);

}  // namespace bench
