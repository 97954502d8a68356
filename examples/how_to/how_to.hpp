// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The code of docs/how-to, a function for each page. What each of them claims, it checks, and returns whether it holds.

bool new_dynamics();
bool new_objective();
bool new_backend();
bool new_plan();
bool masks();
bool many_ranks();
bool choose_a_plan();  ///< prints the table of its page
