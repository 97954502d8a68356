// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tempflow/tempflow.hpp>

namespace fashion {

/// What one policy update reports.
struct update_report {
  tempflow::policy_statistics policy;
  tempflow::group_statistics groups;
  tempflow::rollout_cost cost;
};

}  // namespace fashion
