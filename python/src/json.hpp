// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Named numbers for Python, as JSON.

#include <string>
#include <string_view>
#include <vector>

#include "tempflow/core/error.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/numeric.hpp"

namespace tempflow::python {

/// A JSON object, field by field.
class json_object {
 public:
  void add(std::string_view name, std::string_view text) { field(name, detail::message("\"", text, "\"")); }
  void add(std::string_view name, bool value) { field(name, value ? "true" : "false"); }
  void add(std::string_view name, index_t value) { field(name, detail::to_text(value)); }
  void add(std::string_view name, double value) {
    field(name, is_finite(value) ? detail::to_text(value) : "null");
  }
  void add(std::string_view name, const std::vector<double>& values) {
    std::string list;
    for (const double value : values) list += (list.empty() ? "" : ", ") + detail::to_text(value);
    field(name, "[" + list + "]");
  }
  std::string text() const { return "{" + fields_ + "}"; }

 private:
  void field(std::string_view name, std::string_view value) {
    fields_ += detail::message(fields_.empty() ? "" : ", ", "\"", name, "\": ", value);
  }

  std::string fields_;
};

}  // namespace tempflow::python
