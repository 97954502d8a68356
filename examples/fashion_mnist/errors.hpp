// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace fashion {

/// The data set is missing, truncated or not what it claims to be.
struct data_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A checkpoint or cache file cannot be read, or belongs to another configuration.
struct checkpoint_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A checkpoint or cache file that is cut short, has another checksum, or is of another program or format.
struct unreadable_error : checkpoint_error {
  using checkpoint_error::checkpoint_error;
};

}  // namespace fashion
