// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// error: constraint.*storage_scalar

#include <tempflow/core/batch_view.hpp>

#ifdef BREAK
using element = int;
#else
using element = float;
#endif

void write(tempflow::batch_view<element>);
