// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Published scheduler_config.json files as data: the grids of their models, bit for bit.

#include "tempflow/schedule/scheduler_config.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using tempflow::from_scheduler_config;
using tempflow::index_t;
using tempflow::scheduler_config;
using tempflow::value_error;

TEST_CASE("a model's config gives the grid of the model", "[scheduler_config]") {
  const scheduler_config sd3{.num_train_timesteps = 1000, .shift = 3};
  const scheduler_config flux{.shift = 3, .use_dynamic_shifting = true};  // shift is not used
  const scheduler_config qwen{.use_dynamic_shifting = true,
                              .base_shift = 0.5,
                              .max_shift = 0.9,
                              .max_image_seq_len = 8192,
                              .shift_terminal = 0.02};
  const scheduler_config lightning{.use_dynamic_shifting = true,
                                   .base_shift = std::log(3.0),
                                   .max_shift = std::log(3.0),
                                   .max_image_seq_len = 8192};
  const scheduler_config ltx{.use_dynamic_shifting = true,
                             .base_shift = 0.95,
                             .max_shift = 2.05,
                             .base_image_seq_len = 1024,
                             .shift_terminal = 0.1};
  const scheduler_config wan{.use_flow_sigmas = true, .flow_shift = 3};
  for (const index_t steps : {1, 4, 10, 28, 50}) {
    INFO(steps << " steps");
    CHECK(from_scheduler_config(sd3, steps) == tempflow::sd3_sigmas(steps));
    CHECK(from_scheduler_config(wan, steps) == tempflow::wan_sigmas(steps));
    CHECK(from_scheduler_config(lightning, steps, 1024) == tempflow::qwen_image_lightning_sigmas(steps));
    for (const index_t tokens : {256, 1024, 4096}) {
      CHECK(from_scheduler_config(flux, steps, tokens) == tempflow::flux_sigmas(steps, tokens));
      CHECK(from_scheduler_config(qwen, steps, tokens) == tempflow::qwen_image_sigmas(steps, tokens));
      CHECK(from_scheduler_config(ltx, steps, tokens) == tempflow::ltx_sigmas(steps, tokens));
    }
  }
}

TEST_CASE("a pipeline's own points go through its scheduler's config", "[scheduler_config]") {
  // HunyuanVideo: T points of T + 1 from 1 to 0.
  const std::vector<double> points{1, 0.75, 0.5, 0.25};
  CHECK(from_scheduler_config({.shift = 7}, points) == tempflow::hunyuan_video_sigmas(4));
  // FLUX.2: a mu that is not the config's.
  CHECK(from_scheduler_config({.use_dynamic_shifting = true}, points, tempflow::flux_2_mu(4096, 4)) ==
        tempflow::flux_2_sigmas(4, 4096));
  // SD3 shifted once.
  const auto once = from_scheduler_config({.shift = 3}, tempflow::linear_points(1, 0.001, 10));
  CHECK(once[8] == Approx(.2745).margin(5e-5));
  CHECK(once[9] == Approx(.003 / 1.002).epsilon(1e-14));
  // mu / (mu + 1/t - 1) at t = 1/2 and mu = 3, stretched from there to .4: 1 - .25 * .6 / .25.
  const auto linear = from_scheduler_config(
      {.use_dynamic_shifting = true, .time_shift_type = "linear", .shift_terminal = 0.4}, {1, 0.5}, 3);
  CHECK(linear == std::vector<double>{1, 0.4, 0});
  CHECK(from_scheduler_config({.shift_terminal = 0.0}, {1, 0.5}) == std::vector<double>{1, 0.5, 0});
}

namespace {

template <class... Arguments>
concept makes_a_grid = requires(const scheduler_config& config, Arguments... rest) {
  from_scheduler_config(config, rest...);
};

static_assert(makes_a_grid<int> && makes_a_grid<index_t, int> && makes_a_grid<std::vector<double>, double>);
static_assert(!makes_a_grid<int, double> && !makes_a_grid<index_t, float>);  // a mu is no number of tokens

}  // namespace

TEST_CASE("HunyuanVideo's and FLUX.2's pipelines bring what their configs do not say", "[scheduler_config]") {
  const scheduler_config hunyuan_video{.shift = 7}, flux_2{.shift = 3, .use_dynamic_shifting = true};
  for (const index_t steps : {4, 10, 50}) {
    INFO(steps << " steps");
    const auto points = tempflow::linear_points(1, 1 / static_cast<double>(steps), steps);
    const auto found = from_scheduler_config(hunyuan_video, points),
               expected = tempflow::hunyuan_video_sigmas(steps);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == Approx(expected[i]).epsilon(1e-14));
    CHECK(from_scheduler_config(flux_2, points, tempflow::flux_2_mu(4096, steps)) ==
          tempflow::flux_2_sigmas(steps, 4096));
    // Their fields alone are another grid.
    const auto last = static_cast<std::size_t>(steps) - 1;
    CHECK(from_scheduler_config(hunyuan_video, steps)[last] < 0.5 * expected[last]);
    CHECK(from_scheduler_config(flux_2, steps, 4096) != tempflow::flux_2_sigmas(steps, 4096));
  }
}

TEST_CASE("points are refused that are none, or end in the 0 that is added", "[scheduler_config]") {
  CHECK_THROWS_MATCHES(from_scheduler_config({}, std::vector<double>{}), value_error,
                       MessageMatches(ContainsSubstring("no points")));
  for (const bool dynamic : {false, true}) {
    CHECK_THROWS_MATCHES(
        from_scheduler_config({.use_dynamic_shifting = dynamic}, tempflow::linear_points(1, 0, 11), 1.15),
        value_error, MessageMatches(ContainsSubstring("end in 0")));
  }
}

TEST_CASE("a config that is not understood is an error that names the field", "[scheduler_config]") {
  const auto rejects = [](const scheduler_config& config, const char* text) {
    CHECK_THROWS_MATCHES(from_scheduler_config(config, 10, 1024), value_error,
                         MessageMatches(ContainsSubstring(text)));
  };
  rejects({.invert_sigmas = true}, "invert_sigmas");
  rejects({.use_karras_sigmas = true}, "use_karras_sigmas");
  rejects({.use_exponential_sigmas = true}, "use_exponential_sigmas");
  rejects({.use_beta_sigmas = true}, "use_beta_sigmas");
  rejects({.use_dynamic_shifting = true, .use_flow_sigmas = true}, "use_flow_sigmas");
  rejects({.use_dynamic_shifting = true, .time_shift_type = "cosine"}, "time_shift_type = \"cosine\"");
  rejects({.num_train_timesteps = 0}, "num_train_timesteps = 0");
  rejects({.shift = -3}, "shift = -3");
  rejects({.use_flow_sigmas = true, .flow_shift = 0}, "shift = 0");
  rejects({.use_dynamic_shifting = true, .shift_terminal = 1.5}, "terminal = 1.5");
  rejects({.use_dynamic_shifting = true, .max_image_seq_len = 256}, "no line through");
  CHECK_THROWS_MATCHES(from_scheduler_config({.use_dynamic_shifting = true}, 10), value_error,
                       MessageMatches(ContainsSubstring("image_tokens = 0")));
  CHECK_THROWS_MATCHES(from_scheduler_config({.shift = 3}, 0), value_error,
                       MessageMatches(ContainsSubstring("steps = 0")));
  CHECK_THROWS_MATCHES(from_scheduler_config({.use_dynamic_shifting = true}, std::vector<double>{1, 0.5}),
                       value_error, MessageMatches(ContainsSubstring("mu")));
  CHECK_THROWS_MATCHES(from_scheduler_config({.use_flow_sigmas = true}, std::vector<double>{1, 0.5}),
                       value_error, MessageMatches(ContainsSubstring("use_flow_sigmas")));
}
