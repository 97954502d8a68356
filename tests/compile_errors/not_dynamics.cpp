// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: make_chain needs dynamics: a function from a sigma_step to a transition

#include <tempflow/schedule/chain.hpp>

#ifdef BREAK
struct rule {};
#else
using rule = tempflow::flow_sde;
#endif

auto chain = tempflow::make_chain({1.0, 0.5, 0.0}, rule{});
