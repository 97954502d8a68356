// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a plan says that a rollout takes in bytes, against what a rollout allocates on a device.

#if !defined(__CUDACC__)

#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/test_device.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using support::test_device;
using tempflow::batch_view;
using tempflow::branch_plan;
using tempflow::flow_plan;
using tempflow::index_t;
using tempflow::tree_plan;

namespace {

// A model of velocities that are 0: what matters is where its batches lie, not what they hold.
struct idle_model {
  using value_type = float;

  const test_device& backend;

  static constexpr index_t elements = 3;
  index_t dimension() const { return elements; }
  void velocity(batch_view<const float>, std::span<const double>, std::span<const index_t>,
                batch_view<float> v) {
    const tempflow::batch_buffer<float> zeros(v.rows(), v.columns());
    tempflow::copy_from_host(backend, zeros, v);
  }
};

// A device that counts, with a workspace that was there before.
struct counting_device {
  test_device owner = support::make_test_device();
  tempflow::buffer_of<test_device, double> memory = owner.make_buffer<double>(1, 1 << 17);
  test_device backend{owner.device(), std::as_writable_bytes(std::span(memory.view().data(), 1 << 17))};
  index_t before = static_cast<index_t>(owner.device().live_bytes());

  index_t live() const { return static_cast<index_t>(owner.device().live_bytes()) - before; }
  index_t peak() const { return static_cast<index_t>(owner.device().peak_bytes()) - before; }
};

constexpr index_t dimension = idle_model::elements;
const tempflow::chain stochastic =
    tempflow::make_chain(tempflow::shifted_linspace_sigmas(6), tempflow::flow_sde{.noise_level = 0.7});
const tempflow::chain windowed = tempflow::make_chain(
    tempflow::shifted_linspace_sigmas(6), tempflow::flow_sde{.noise_level = 0.7}, std::vector<index_t>{2, 3});
const std::vector<index_t> prompts{3, 8};
constexpr tempflow::noise_key key{.seed = 5, .update = 2};

// A rollout leaves, and takes while it runs, what its plan told.
template <class Plan>
void check_bytes(const Plan& plan, const tempflow::chain& steps = stochastic) {
  const auto cost = plan.cost(steps, 2, dimension, sizeof(float));
  counting_device device;
  idle_model model{device.backend};
  device.owner.device().forget_peak();
  const auto rollout = tempflow::roll_out(device.backend, model, prompts, steps, plan, key);
  const auto log_probs =
      static_cast<index_t>(rollout.log_probs().size_bytes());  // the result's are the host's
  CHECK(device.live() == cost.bytes - log_probs);
  CHECK(device.peak() == cost.bytes + cost.working_bytes);
}

}  // namespace

TEST_CASE("a rollout of branches allocates the bytes that its plan tells", "[device][cost]") {
  check_bytes(branch_plan{.seeds_per_prompt = 2, .explorations = 3});
  check_bytes(branch_plan{.seeds_per_prompt = 1, .explorations = 2, .completion_steps = {2}, .max_batch = 5});
  check_bytes(
      branch_plan{.seeds_per_prompt = 3, .explorations = 2, .branch_steps = {1, 4}, .finish_trunk = true});
  check_bytes(branch_plan{.seeds_per_prompt = 3, .explorations = 2, .shared_noise = true, .redraw = true});
  check_bytes(branch_plan{.explorations = 2, .completion_solver = tempflow::ode_solver::dpm_solver_2m});
}

TEST_CASE("what a call needs on a device is bounded by max_batch", "[device][cost]") {
  for (const index_t limit : {1, 4, 1000}) {
    check_bytes(branch_plan{.seeds_per_prompt = 2, .explorations = 3, .max_batch = limit});
    check_bytes(branch_plan{.seeds_per_prompt = 2,
                            .explorations = 3,
                            .completion_solver = tempflow::ode_solver::dpm_solver_2m,
                            .max_batch = limit,
                            .check_velocities = false});
  }
}

TEST_CASE("a rollout of whole trajectories and trees allocates the bytes that its plan tells",
          "[device][cost]") {
  for (const index_t samples : {1, 5}) {
    check_bytes(flow_plan{.samples_per_prompt = samples, .max_batch = 3});
    check_bytes(flow_plan{.samples_per_prompt = samples, .redraw = true});
    check_bytes(flow_plan{.samples_per_prompt = samples, .trained_steps = {2, 3}});
    check_bytes(flow_plan{.samples_per_prompt = samples, .shared_noise = true}, windowed);
  }
  check_bytes(tree_plan{.trees_per_prompt = 2, .split_steps = {0, 2, 3}});
}

#endif
