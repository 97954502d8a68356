// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a plan says that a rollout takes in bytes, against what a rollout allocates on a device.

#if !defined(__CUDACC__)

#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/test_device.hpp"
#include "tempflow/rollout/branch_rollout.hpp"
#include "tempflow/rollout/flow_rollout.hpp"

using support::test_device;
using tempflow::batch_view;
using tempflow::index_t;

namespace {

// A model that does nothing: what matters is where its batches lie, not what they hold.
struct idle_model {
  using value_type = float;

  constexpr index_t dimension() const { return 3; }
  void velocity(batch_view<const float>, std::span<const double>, std::span<const index_t>,
                batch_view<float>) {}
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

constexpr index_t dimension = idle_model{}.dimension();
const tempflow::chain steps =
    tempflow::make_chain(tempflow::shifted_linspace_sigmas(6), tempflow::flow_sde{.noise_level = 0.7});
const std::vector<index_t> prompts{3, 8};
constexpr tempflow::noise_key key{.seed = 5, .update = 2};

// roll(place, model): the rollout of a plan with this cost. Of its working batches the result keeps `kept` bytes,
// which are therefore among both numbers.
template <class Roll>
void check_bytes(const tempflow::rollout_cost& cost, index_t kept, const Roll& roll) {
  counting_device device;
  idle_model model;
  device.owner.device().forget_peak();
  const auto rollout = roll(device.backend, model);
  const auto log_probs =
      static_cast<index_t>(rollout.log_probs().size_bytes());  // the result's are the host's
  CHECK(device.live() == cost.bytes - log_probs);
  CHECK(device.peak() == cost.bytes + cost.working_bytes - kept);
}

}  // namespace

TEST_CASE("a branch rollout allocates the bytes that its plan tells", "[device][cost]") {
  const auto check = [](const tempflow::branch_plan& plan) {
    const index_t seeds = 2 * plan.seeds_per_prompt;
    check_bytes(plan.cost(steps, 2, dimension, sizeof(float)),
                plan.finish_trunk ? seeds * dimension * index_t{sizeof(float)} : 0,
                [&](const auto& backend, auto& model) {
                  return tempflow::branch_rollout(backend, model, prompts, steps, plan, key);
                });
  };
  check({.seeds_per_prompt = 2, .explorations = 3});
  check({.seeds_per_prompt = 1, .explorations = 2, .completion_steps = 2, .max_batch = 5});
  check({.seeds_per_prompt = 3, .explorations = 2, .branch_steps = {1, 4}, .finish_trunk = true});
}

TEST_CASE("a flow rollout allocates the bytes that its plan tells", "[device][cost]") {
  for (const index_t samples : {1, 5}) {
    const tempflow::flow_plan plan{.samples_per_prompt = samples, .max_batch = 3};
    check_bytes(plan.cost(steps, 2, dimension, sizeof(float)),
                2 * samples * dimension * index_t{sizeof(float)}, [&](const auto& backend, auto& model) {
                  return tempflow::flow_rollout(backend, model, prompts, steps, plan, key);
                });
  }
}

#endif
