// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include <tempflow/config_summary.hpp>

#include <tempflow/backend/cpu.hpp>

#include <sstream>

#include "support/catch.hpp"

namespace tf = tempflow;

TEST_CASE("the summary for bug reports names the version, the compiler and the instructions in use") {
  std::istringstream text(tf::config_summary());
  std::string version, compiler, processor, more;
  REQUIRE((std::getline(text, version) && std::getline(text, compiler) && std::getline(text, processor)));
  CHECK_FALSE(std::getline(text, more));
  std::ostringstream number;
  number << "tempflow " << tf::version_major << '.' << tf::version_minor << '.' << tf::version_patch;
  CHECK(version == number.str());
  CHECK(compiler.starts_with("compiler: "));
  CHECK(compiler.find("__cplusplus 20") != std::string::npos);
  CHECK(processor.starts_with(std::string("processor: ") + to_string(tf::cpu_backend(1).instructions()) +
                              ", "));
}
