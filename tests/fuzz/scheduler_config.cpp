// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Grids of scheduler configs, and chains on them: any numbers in any field give a typed error, or points within [0, 1]
// and transitions that are finite.

#include "tempflow/schedule/scheduler_config.hpp"

#include "fuzz/input.hpp"
#include "tempflow/schedule/chain.hpp"
#include "tempflow/schedule/dynamics.hpp"
#include "tempflow/schedule/multistep.hpp"

namespace tf = tempflow;

namespace {

tf::scheduler_config config_of(fuzz::input& in) {
  tf::scheduler_config config;
  const auto flags = in.take<std::uint16_t>();
  if (flags & 1) config.num_train_timesteps = in.integer();
  if (flags & 2) config.shift = in.number();
  config.use_dynamic_shifting = (flags & 4) != 0;
  if (flags & 8) config.time_shift_type = in.flip() ? "linear" : "another";
  if (flags & 16) config.base_shift = in.number(), config.max_shift = in.number();
  if (flags & 32) config.base_image_seq_len = in.integer(), config.max_image_seq_len = in.integer();
  if (flags & 64) config.shift_terminal = in.number();
  config.use_flow_sigmas = (flags & 128) != 0;
  if (flags & 256) config.flow_shift = in.number();
  config.use_karras_sigmas = (flags & 0x3000) == 0x3000;
  config.invert_sigmas = (flags & 0xc000) == 0xc000;
  return config;
}

void check_chain(const std::vector<double>& sigmas, fuzz::input& in) {
  const double level = in.number();
  const auto make = [&]() -> tf::chain {
    switch (in.choose(6)) {
      case 0: return tf::make_chain(sigmas, tf::ode{});
      case 1: return tf::make_chain(sigmas, tf::flow_sde{level});
      case 2: return tf::make_chain(sigmas, tf::dance_sde{level});
      case 3: return tf::make_chain(sigmas, tf::flow_cps{level});
      case 4: return tf::make_chain(sigmas, tf::ddim{level});
      default: return tf::make_chain(sigmas, tf::wan_sde::on(sigmas));
    }
  };
  const tf::chain steps = make();
  for (const tf::transition& step : steps.transitions()) {
    fuzz::require(tf::is_finite(step.alpha) && tf::is_finite(step.beta) && tf::is_finite(step.std) &&
                      step.alpha >= 0 && step.std >= 0 && step.dt > 0,
                  "a chain's transitions are finite, alpha and std not negative");
  }
  for (tf::index_t i = 0; i < steps.steps(); ++i) {
    const tf::transition whole = steps.ode_step(i, steps.steps());
    fuzz::require(tf::is_finite(whole.alpha) && tf::is_finite(whole.beta) && whole.std == 0,
                  "a deterministic step is finite");
    const double previous = i == 0 ? 1 : sigmas[static_cast<std::size_t>(i) - 1];
    const auto second = tf::dpm_solver_2m(
        previous, {sigmas[static_cast<std::size_t>(i)], sigmas[static_cast<std::size_t>(i) + 1]});
    fuzz::require(tf::is_finite(second.alpha) && tf::is_finite(second.beta) && tf::is_finite(second.previous),
                  "a step of second order is finite");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const tf::scheduler_config config = config_of(in);
  try {
    std::vector<double> sigmas;
    if (in.flip()) {
      std::vector<double> points;
      for (int count = in.choose(6); count > 0; --count) points.push_back(in.number());
      sigmas = tf::from_scheduler_config(config, std::move(points),
                                         in.flip() ? std::optional<double>(in.number()) : std::nullopt);
    } else {
      sigmas = tf::from_scheduler_config(config, in.take<std::int8_t>(), in.integer());
    }
    fuzz::require(sigmas.size() >= 2 && sigmas.back() == 0, "a grid ends in 0");
    for (const double sigma : sigmas) fuzz::require(sigma >= 0 && sigma <= 1, "a grid lies in [0, 1]");
    check_chain(sigmas, in);
  } catch (const tf::error&) {
  }
  return 0;
}
