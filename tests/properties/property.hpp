// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A property: what holds for every case, and how a case is made from one number.
//
//   const properties::property parity("a number is even or odd", [](properties::draw& draw) {
//     const index_t n = draw.between(0, 100);
//     require(n % 2 == 0 || n % 2 == 1, "n = ", n);
//   });

#include <stdexcept>
#include <string>
#include <vector>

#include "properties/draw.hpp"
#include "tempflow/core/error.hpp"

namespace properties {

/// A case for which a property does not hold.
struct violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws a violation that says `what` unless the condition holds.
template <class... What>
void require(bool holds, const What&... what) {
  if (!holds) throw violation(tempflow::detail::message(what...));
}

/// One of the program's properties, which are known by their names. Objects of static storage.
class property {
 public:
  using function = void (*)(draw&);

  property(const char* name, function check) : name_(name), check_(check) { all().push_back(this); }
  property(const property&) = delete;
  property& operator=(const property&) = delete;

  const std::string& name() const { return name_; }

  /// Empty when the property holds for a case, else what does not.
  std::string violated_by(std::uint64_t number) const {
    try {
      draw source(number);
      check_(source);
      return {};
    } catch (const std::exception& failure) {
      return failure.what()[0] != '\0' ? failure.what() : "an exception without a text";
    }
  }

  static std::vector<const property*>& all() {
    static std::vector<const property*> list;
    return list;
  }

 private:
  std::string name_;
  function check_;
};

}  // namespace properties
