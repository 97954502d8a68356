// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// how_to: runs all of docs/how-to. how_to choose_a_plan: the table of that page.

#include <cstdio>
#include <cstring>

#include "how_to.hpp"

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "choose_a_plan") == 0) return choose_a_plan() ? 0 : 1;
  const struct {
    const char* name;
    bool (*run)();
  } tasks[] = {{"new dynamics", new_dynamics},
               {"new objective", new_objective},
               {"new backend", new_backend},
               {"new plan", new_plan},
               {"masks", masks},
               {"many ranks", many_ranks}};
  bool all = true;
  for (const auto& task : tasks) {
    const bool holds = task.run();
    std::printf("%s: %s\n", task.name, holds ? "holds" : "does not hold");
    all = all && holds;
  }
  return all ? 0 : 1;
}
