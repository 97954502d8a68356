// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/schedule/chain.hpp>

/// The chain that a product is trained with.
tempflow::chain product_chain();
