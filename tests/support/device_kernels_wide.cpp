// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "support/test_device.hpp"

namespace tempflow::detail {

TEMPFLOW_TEST_DEVICE_KERNELS(template, float);
TEMPFLOW_TEST_DEVICE_KERNELS(template, double);

}  // namespace tempflow::detail
