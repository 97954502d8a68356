// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Rolls plans out with the C++ engine, for test_rollout.py to compare its own with: engine PLAN FILE writes the log-probs
// (float64), then the samples and the states (float32). The model is v = x / 2^(1 + prompt % 2), which is exact.

#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <tempflow/tempflow.hpp>

namespace {

using namespace tempflow;

struct halving_model {
  using value_type = float;
  index_t dimension() const { return 24; }
  void velocity(batch_view<const float> x, std::span<const double>, std::span<const index_t> prompts,
                batch_view<float> v) const {
    for (index_t i = 0; i < x.rows(); ++i) {
      const float factor = prompts[static_cast<std::size_t>(i)] % 2 == 0 ? 0.5f : 0.25f;
      for (index_t e = 0; e < x.columns(); ++e) v.row(i)[e] = x.row(i)[e] * factor;
    }
  }
};

forest plan_of(const std::string& name) {
  const auto grid = sd3_sigmas(10);
  if (name == "branch")
    return branch_plan{.seeds_per_prompt = 2, .explorations = 3, .finish_trunk = true}.on(
        make_chain(grid, flow_sde{}));
  if (name == "branch_2m") {
    return branch_plan{.seeds_per_prompt = 2,
                       .explorations = 4,
                       .completion_steps = {4},
                       .completion_solver = ode_solver::dpm_solver_2m,
                       .antithetic = true,
                       .shared_noise = true}
        .on(make_chain(grid, flow_sde{}));
  }
  if (name == "flow") return flow_plan{.samples_per_prompt = 4}.on(make_chain(grid, flow_cps{}));
  if (name == "window") {
    const index_t steps[] = {2, 3, 4};
    return flow_plan{.samples_per_prompt = 4, .shared_noise = true}.on(make_chain(grid, flow_sde{}, steps));
  }
  if (name == "window_2m") {
    const index_t steps[] = {2, 3};
    return flow_plan{.samples_per_prompt = 4, .solver = ode_solver::dpm_solver_2m}.on(
        make_chain(grid, flow_sde{}, steps));
  }
  if (name == "tree")
    return tree_plan{.children = 2, .split_steps = {0, 3}}.on(make_chain(grid, dance_sde{}));
  throw value_error("engine: no plan " + name);
}

void write(std::ofstream& file, std::span<const std::byte> bytes) {
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

int main(int count, char** arguments) try {
  if (count != 3) throw value_error("usage: engine PLAN FILE");
  halving_model model;
  const index_t prompts[] = {7, 4};
  const auto rollout =
      roll_out(cpu_backend(2), model, prompts, plan_of(arguments[1]), noise_key{.seed = 11, .update = 3});
  std::ofstream file(arguments[2], std::ios::binary);
  write(file, std::as_bytes(rollout.log_probs()));
  for (const auto& batch : {rollout.samples(), rollout.states()}) {
    const std::size_t elements = static_cast<std::size_t>(batch.rows() * batch.columns());
    write(file, std::as_bytes(std::span(batch.data(), elements)));
  }
  return file.good() ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
