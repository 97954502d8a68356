// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "scheduler.hpp"

tempflow::chain product_chain() {
  return tempflow::make_chain(tempflow::sd3_sigmas(10), tempflow::flow_sde{0.7});
}
