// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a compiler reads of the library in a project that has its headers among its own: the umbrella, the adapters of what is
// installed, and every operation on rows of float and, with gradients in fp32, of bfloat16.

#include <tempflow/compiled.hpp>
#include <tempflow/interop/mdspan.hpp>
#if __has_include(<dlpack/dlpack.h>)
#include <tempflow/interop/dlpack.hpp>
#endif
#if __has_include(<Eigen/Core>)
#include <tempflow/interop/eigen.hpp>
#endif
#if __has_include(<xtensor/xtensor.hpp>) || __has_include(<xtensor/containers/xtensor.hpp>)
#include <tempflow/interop/xtensor.hpp>
#endif

namespace tempflow::detail {

TEMPFLOW_INSTANTIATE_OPS(template, float);
TEMPFLOW_INSTANTIATE_OPS_AND_FP32_GRADIENT(template, bfloat16);

}  // namespace tempflow::detail
