// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Catch2 2 (one header, Debian 12) or Catch2 3. Tests are written in Catch2 3's spelling.

#if __has_include(<catch2/catch_test_macros.hpp>)

#include <catch2/catch_approx.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators_all.hpp>
#include <catch2/matchers/catch_matchers_all.hpp>

#else

#include <catch2/catch.hpp>

namespace Catch {
using Detail::Approx;
}

namespace Catch::Matchers {

inline auto ContainsSubstring(const std::string& text) { return Contains(text); }

/// The exception's message matches: as Catch2 3's MessageMatches.
template <class Matcher>
class message_matcher : public MatcherBase<std::exception> {
 public:
  explicit message_matcher(Matcher matcher) : matcher_(std::move(matcher)) {}
  bool match(const std::exception& failure) const override { return matcher_.match(failure.what()); }
  std::string describe() const override { return "exception message " + matcher_.describe(); }

 private:
  Matcher matcher_;
};

template <class Matcher>
auto MessageMatches(const Matcher& matcher) {
  return message_matcher<Matcher>(matcher);
}

}  // namespace Catch::Matchers

#endif
