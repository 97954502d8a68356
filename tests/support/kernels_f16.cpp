// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "support/kernels.hpp"

namespace tempflow::detail {

TEMPFLOW_TEST_KERNELS(, float16)
TEMPFLOW_TEST_GRADIENTS(, float16, float)
TEMPFLOW_TEST_GRADIENTS(, float16, float16)

}  // namespace tempflow::detail
