// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Command lines of the Fashion-MNIST example, an argument a line: a mistake that is told, or a recipe whose plan can be
// made, or told why not.

#include "options.hpp"

#include <CLI/CLI.hpp>
#include <vector>

#include "fuzz/input.hpp"
#include "recipe.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<char*> arguments{text.data()};
  std::string name = "fashion_mnist";
  arguments[0] = name.data();
  for (char* at = text.data(); at < text.data() + text.size();) {
    arguments.push_back(at);
    while (*at != '\n' && *at != '\0') ++at;
    *at++ = '\0';
  }
  CLI::App app;
  try {
    const auto options = fashion::read_options(app, static_cast<int>(arguments.size()), arguments.data(), {},
                                               [](CLI::App&, fashion::options&) {});
    fuzz::require(options.trained_steps <= options.steps && options.window <= options.trained_steps,
                  "options fit each other");
    fuzz::require(!options.fingerprint(fashion::scope::run).empty(), "options have a fingerprint");
    if (options.steps > 40 || options.explorations > 100 || options.seeds > 100) return 0;
    const fashion::recipe recipe(options);
    for (const int update : {0, 1, 1000}) {
      recipe.plan(update).validate();
      for (const double weight : recipe.step_weights(update))
        fuzz::require(weight >= 0, "weights are not negative");
    }
  } catch (const CLI::ParseError&) {
  } catch (const tempflow::error&) {
  }
  return 0;
}
