// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Checks each property on the cases of the ledger, and then on random ones.
//
//   test_properties                                   the ledger, and the usual number of cases
//   test_properties --cases 1000 --seed 7             other cases, and more of them
//   test_properties --seconds 3600                    for an hour, beginning with a seed of the clock
//   test_properties --case 0x1234 "the property"      one case
//
// The usual number, or that of the environment variable TEMPFLOW_PROPERTY_CASES. A case that fails is a line to
// replay it, which belongs into ledger.txt beside this file: it is tried first from then on.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "properties/property.hpp"

namespace {

using properties::property;
using steady = std::chrono::steady_clock;

struct settings {
  long long cases = 150;
  std::uint64_t seed = 1;
  double seconds = 0;
  const char* replayed = nullptr;
  const char* name = nullptr;
};

/// A well mixed number for a case: splitmix64.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// Whether the property holds for a case; prints a line to replay it if not.
bool holds(const property& what, std::uint64_t number) {
  const std::string violation = what.violated_by(number);
  if (violation.empty()) return true;
  std::printf("FAILED: test_properties --case 0x%llx \"%s\"\n  %s\n", static_cast<unsigned long long>(number),
              what.name().c_str(), violation.c_str());
  std::fflush(stdout);
  return false;
}

const property* named(const std::string& name) {
  for (const property* candidate : property::all()) {
    if (candidate->name() == name) return candidate;
  }
  return nullptr;
}

/// The cases of the ledger; returns how many fail. A line: 0x1234 the property's name.
int replay_ledger(const char* path) {
  std::ifstream file(path);
  if (!file) {
    std::printf("FAILED: cannot open %s\n", path);
    return 1;
  }
  int failed = 0;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string number, name;
    std::getline(words >> number >> std::ws, name);
    const property* const of = named(name);
    if (of == nullptr) std::printf("FAILED: %s has no property \"%s\"\n", path, name.c_str());
    if (of == nullptr || !holds(*of, std::strtoull(number.c_str(), nullptr, 0))) ++failed;
  }
  return failed;
}

/// Random cases of all properties, `cases` of each or for so many seconds; returns how many fail.
int try_all(const settings& of) {
  int failed = 0;
  long long tried = 0;
  const auto end = steady::now() + std::chrono::duration<double>(of.seconds);
  std::vector<double> spent(property::all().size());
  const bool timed = of.seconds > 0;
  for (long long i = 0; (timed ? steady::now() < end : i < of.cases) && failed < 20; ++i) {
    for (std::size_t p = 0; p < spent.size(); ++p) {
      const auto begin = steady::now();
      failed +=
          holds(*property::all()[p], mixed(of.seed * 0x10000000u + static_cast<std::uint64_t>(i))) ? 0 : 1;
      spent[p] += std::chrono::duration<double>(steady::now() - begin).count();
      ++tried;
    }
  }
  for (std::size_t p = 0; p < spent.size(); ++p)
    std::printf("%7.2f s  %s\n", spent[p], property::all()[p]->name().c_str());
  std::printf("%lld cases from seed %llu, %d failed\n", tried, static_cast<unsigned long long>(of.seed),
              failed);
  return failed;
}

settings read_arguments(int argc, char** argv) {
  settings of;
  if (const char* const cases = std::getenv("TEMPFLOW_PROPERTY_CASES")) of.cases = std::atoll(cases);
  bool seeded = false;
  for (int i = 1; i < argc; ++i) {
    const auto is = [&](const char* option, int values) {
      return std::strcmp(argv[i], option) == 0 && i + values < argc;
    };
    if (is("--cases", 1)) {
      of.cases = std::atoll(argv[++i]);
    } else if (is("--seed", 1)) {
      of.seed = std::strtoull(argv[++i], nullptr, 0), seeded = true;
    } else if (is("--seconds", 1)) {
      of.seconds = std::atof(argv[++i]);
    } else if (is("--case", 2)) {
      of.replayed = argv[++i], of.name = argv[++i];
    } else {
      std::cerr << "usage: " << argv[0] << " [--cases N] [--seed N] [--seconds S] [--case NUMBER PROPERTY]\n";
      std::exit(2);
    }
  }
  if (of.seconds > 0 && !seeded)
    of.seed = static_cast<std::uint64_t>(steady::now().time_since_epoch().count());
  return of;
}

}  // namespace

int main(int argc, char** argv) {
  const settings of = read_arguments(argc, argv);
  if (of.replayed != nullptr) {
    const property* const one = named(of.name);
    if (one == nullptr) {
      std::cerr << "no property \"" << of.name << "\"; there are:\n";
      for (const property* other : property::all()) std::cerr << "  " << other->name() << '\n';
      return 2;
    }
    if (!holds(*one, std::strtoull(of.replayed, nullptr, 0))) return 1;
    std::printf("holds\n");
    return 0;
  }
  const int failed = replay_ledger(TEMPFLOW_PROPERTY_LEDGER);
  return failed + try_all(of) == 0 ? 0 : 1;
}
