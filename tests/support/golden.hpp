// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// tests/data/golden.json: outputs of the published implementations on recorded inputs.

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace support {

/// The cases of one section: "schedules", "steps", "advantages" or "objective".
inline const nlohmann::json& golden(const char* section) {
  static const nlohmann::json all = [] {
    const std::string path = std::string(TEMPFLOW_TEST_DATA) + "/golden.json";
    std::ifstream file(path);
    if (!file) throw std::runtime_error("cannot read " + path);
    return nlohmann::json::parse(file);
  }();
  return all.at(section);
}

inline std::vector<double> numbers_of(const nlohmann::json& value) {
  return value.get<std::vector<double>>();
}

}  // namespace support
