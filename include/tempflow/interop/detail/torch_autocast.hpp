// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// An autocast region of torch's, from C++.

#include <ATen/autocast_mode.h>

namespace tempflow::detail {

/// An autocast region, as torch.autocast opens one.
class autocast_region {
 public:
  autocast_region(at::DeviceType device, at::ScalarType dtype)
      : device_(device),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        last_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::increment_nesting();
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, dtype);
  }
  autocast_region(const autocast_region&) = delete;
  autocast_region& operator=(const autocast_region&) = delete;
  ~autocast_region() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_enabled_);
    at::autocast::set_autocast_dtype(device_, last_dtype_);
  }

 private:
  at::DeviceType device_;
  bool was_enabled_;
  at::ScalarType last_dtype_;
};

}  // namespace tempflow::detail
