// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Where dense layers lie in one flat vector of parameters. No linear algebra here, so that whatever does it
// can share the layout.

#include <tempflow/core/index.hpp>

namespace fashion {

/// y = x W + b. W is inputs x outputs, row-major, at `offset`; b follows it.
struct linear {
  tempflow::index_t inputs = 0;
  tempflow::index_t outputs = 0;
  tempflow::index_t offset = 0;

  tempflow::index_t parameters() const { return (inputs + 1) * outputs; }
};

/// Places layers one behind the other in the flat vector.
class layer_allocator {
 public:
  linear operator()(tempflow::index_t inputs, tempflow::index_t outputs) {
    const linear layer{inputs, outputs, size_};
    size_ += layer.parameters();
    return layer;
  }
  tempflow::index_t size() const { return size_; }

 private:
  tempflow::index_t size_ = 0;
};

}  // namespace fashion
