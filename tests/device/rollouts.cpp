// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A rollout changes its backend, and nothing else: the same samples, log-probs and minibatches.

#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/masks.hpp"
#include "support/models.hpp"
#include "support/outputs.hpp"
#include "support/placed_mask.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/timestep_weights.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/model_adapters.hpp"
#include "tempflow/rollout/model_check.hpp"
#include "tempflow/rollout/rescore.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::index_t;

namespace {

// A model that computes on the host, for states that lie anywhere.
template <class T, class B>
class visiting_model {
 public:
  using value_type = T;

  visiting_model(const B& backend, index_t dimension) : backend_(backend), model_(dimension) {}

  index_t dimension() const { return model_.dimension(); }

  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> prompts,
                batch_view<T> v) {
    const auto here = tempflow::to_host(backend_, x);
    tempflow::batch_buffer<T> out(x.rows(), x.columns());
    model_.velocity(here, sigma, prompts, out);
    tempflow::copy_from_host(backend_, out.view(), v);
  }

 private:
  B backend_;
  support::row_model<T> model_;
};

const tempflow::chain steps =
    tempflow::make_chain(tempflow::shifted_linspace_sigmas(6), tempflow::flow_sde{.noise_level = 0.7});
const std::vector<index_t> prompts{3, 8};
constexpr tempflow::noise_key key{.seed = 5, .update = 2};

template <class A, class B>
void check_same(A& device, B& host, const auto& backend) {
  const auto samples = tempflow::to_host(backend, device.samples());
  CHECK(support::same_bits(samples.view(), host.samples()));
  const auto states = tempflow::to_host(backend, device.states());
  CHECK(support::same_bits(states.view(), host.states()));
  const auto near = support::largest_difference(device.log_probs(), host.log_probs());
  CHECK(near <= (support::emulated ? 0 : 1e-14));
}

}  // namespace

TEMPLATE_TEST_CASE("a branch rollout on a device is the cpu's", "[device]", float, bfloat16) {
  const auto backend = support::make_test_device();
  const tempflow::cpu_backend cpu(1);
  for (const index_t dimension : {5, 1500}) {
    visiting_model<TestType, support::test_device> there(backend, dimension);
    support::row_model<TestType> here(dimension);
    const tempflow::branch_plan plan{.seeds_per_prompt = 2,
                                     .explorations = 3,
                                     .completion_steps = {2},
                                     .finish_trunk = true,
                                     .max_batch = 7};
    auto device = tempflow::roll_out(backend, there, prompts, steps, plan, key);
    auto host = tempflow::roll_out(cpu, here, prompts, steps, plan, key);
    check_same(device, host, backend);
    const auto trunk = tempflow::to_host(backend, device.trunk_samples());
    CHECK(support::same_bits(trunk.view(), host.trunk_samples()));
  }
}

TEST_CASE("a flow rollout on a device is the cpu's", "[device]") {
  const auto backend = support::make_test_device();
  visiting_model<float, support::test_device> there(backend, 1030);
  support::row_model<float> here(1030);
  auto device =
      tempflow::roll_out(backend, there, prompts, steps, tempflow::flow_plan{.samples_per_prompt = 3}, key);
  auto host = tempflow::roll_out(tempflow::cpu_backend(1), here, prompts, steps,
                                 tempflow::flow_plan{.samples_per_prompt = 3}, key);
  check_same(device, host, backend);
}

TEST_CASE("a tree, shared noise and steps of second order on a device are the cpu's", "[device]") {
  const auto backend = support::make_test_device();
  visiting_model<float, support::test_device> there(backend, 70);
  support::row_model<float> here(70);
  const tempflow::cpu_backend cpu(1);
  const auto check = [&](const auto& plan) {
    auto device = tempflow::roll_out(backend, there, prompts, steps, plan, key);
    auto host = tempflow::roll_out(cpu, here, prompts, steps, plan, key);
    check_same(device, host, backend);
  };
  check(tempflow::tree_plan{.split_steps = {1, 3}, .antithetic = false});
  check(tempflow::flow_plan{.samples_per_prompt = 4, .shared_noise = true, .antithetic = true});
  check(tempflow::branch_plan{.seeds_per_prompt = 2,
                              .explorations = 2,
                              .completion_solver = tempflow::ode_solver::dpm_solver_2m,
                              .antithetic = true,
                              .shared_noise = true});
}

TEST_CASE("a rollout with fixed elements on a device is the cpu's", "[device]") {
  const auto backend = support::make_test_device();
  const tempflow::cpu_backend cpu(1);
  visiting_model<float, support::test_device> there(backend, 1030);
  support::row_model<float> here(1030);
  const support::mask_bytes mask(1, 1030, 3);
  const auto values = support::random_batch<float>(2, 1030, 11);
  auto values_there = tempflow::make_buffer<float>(backend, 2, 1030);
  tempflow::copy_from_host(backend, values, values_there.view());
  support::placed_mask at_mask(backend, mask);
  const auto check = [&](const auto& plan) {
    auto device =
        tempflow::roll_out(backend, there, prompts, steps, plan, key, {at_mask, values_there.view()});
    auto host = tempflow::roll_out(cpu, here, prompts, steps, plan, key, {mask, values.view()});
    check_same(device, host, backend);
  };
  check(tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 3, .max_batch = 7});
  check(tempflow::branch_plan{.explorations = 2, .completion_solver = tempflow::ode_solver::dpm_solver_2m});
}

TEST_CASE("a device trains on minibatches of its rollout, on policy", "[device]") {
  const auto backend = support::make_test_device();
  visiting_model<float, support::test_device> model(backend, 1030);
  auto rollout = tempflow::roll_out(backend, model, prompts, steps,
                                    tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 3}, key);
  const auto count = static_cast<std::size_t>(rollout.samples().rows());
  const std::vector<double> advantages = support::numbers(1).take(rollout.samples().rows());
  const auto weights = tempflow::noise_aware_weights(steps, rollout.trained_steps());
  auto batches = tempflow::minibatches(rollout, advantages, weights, {.size = 7, .shuffle = key});
  std::size_t rows = 0;
  for (const auto& batch : batches) {
    auto v = tempflow::make_buffer<float>(backend, batch.x.rows(), batch.x.columns());
    auto gradient = v.like(batch.x.rows(), batch.x.columns());
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    const auto total =
        tempflow::policy_loss(backend, batch, v, {}, tempflow::clipped_grpo{}, gradient.view());
    CHECK(total.max_abs_log_ratio == 0);
    CHECK(total.non_finite_rows == 0);
    rows += batch.rows.size();
  }
  CHECK(rows == count);
  CHECK(tempflow::rescore(backend, model, batches).max_abs == 0);
}

TEST_CASE("an adapted model on a device has the cpu's bits, and the check the cpu's numbers", "[device]") {
  const auto backend = support::make_test_device();
  const tempflow::cpu_backend cpu(1);
  visiting_model<float, support::test_device> there(backend, 1500);
  support::row_model<float> here(1500);
  const tempflow::model_convention convention{tempflow::prediction::data, 1000, 0};
  auto on_device = tempflow::adapt_model(backend, there, convention);
  auto on_host = tempflow::adapt_model(cpu, here, convention);
  const tempflow::branch_plan plan{.seeds_per_prompt = 2, .explorations = 2, .max_batch = 3};
  auto device = tempflow::roll_out(backend, on_device, prompts, steps, plan, key);
  auto host = tempflow::roll_out(cpu, on_host, prompts, steps, plan, key);
  check_same(device, host, backend);

  const auto found = tempflow::check_model(backend, on_device, steps, prompts, key),
             expected = tempflow::check_model(cpu, on_host, steps, prompts, key);
  REQUIRE(found.steps.size() == expected.steps.size());
  CHECK(found.samples.std == expected.samples.std);
  CHECK(found.steps[3].error == expected.steps[3].error);
  CHECK(found.problem == expected.problem);
  CHECK(found.hint == expected.hint);
}

TEST_CASE("bf16 outputs for fp32 states are adapted on a device to the cpu's bits", "[device]") {
  const auto backend = support::make_test_device();
  const tempflow::cpu_backend cpu(1);
  const auto x = support::random_batch<float>(4, 1500, 1);
  const auto outputs = support::random_batch<bfloat16>(4, 1500, 2);
  const std::vector<double> sigmas{0.9, 0.6, 0.3, 0.1};
  const std::vector<index_t> of_rows{0, 1, 2, 3};
  auto x_there = tempflow::make_buffer<float>(backend, 4, 1500);
  auto v_there = tempflow::make_buffer<float>(backend, 4, 1500);
  tempflow::copy_from_host(backend, x, x_there.view());
  auto there = tempflow::flow_model<float, bfloat16>(1500, [&](auto, auto, auto, batch_view<bfloat16> out) {
    tempflow::copy_from_host(backend, outputs, out);
  });
  auto here = tempflow::flow_model<float, bfloat16>(
      1500, [&](auto, auto, auto, batch_view<bfloat16> out) { tempflow::copy_rows(cpu, outputs, out); });
  const tempflow::model_convention convention{tempflow::prediction::data, 1000, 0};
  tempflow::batch_buffer<float> v(4, 1500);
  tempflow::adapt_model(backend, there, convention).velocity(x_there, sigmas, of_rows, v_there);
  tempflow::adapt_model(cpu, here, convention).velocity(x, sigmas, of_rows, v);
  CHECK(support::same_bits(tempflow::to_host(backend, v_there), v));
}

TEST_CASE("a velocity that is not finite is named on a device, once all calls are made", "[device]") {
  const auto backend = support::make_test_device();
  const auto model_of = [&](index_t broken) {  // the given evaluation of the rollout
    return [&backend, broken, row = index_t{0}](auto x, auto, auto, batch_view<float> v) mutable {
      tempflow::batch_buffer<float> out(v.rows(), v.columns());
      if (broken >= row && broken < row + v.rows())
        out.view().row(broken - row)[69] = std::numeric_limits<float>::infinity();
      row += x.rows();
      tempflow::copy_from_host(backend, out.view(), v);
    };
  };
  // 2 seeds of 2 prompts: evaluation 4 + 2 is step 1, prompt 8, seed 0.
  tempflow::flow_plan plan{.samples_per_prompt = 2, .max_batch = 3};
  auto model = tempflow::flow_model<float>(70, model_of(6));
  support::check_throws<tempflow::value_error>(
      [&] { tempflow::roll_out(backend, model, prompts, steps, plan, key); },
      {"step 1", "prompt 8, seed 0, branch 0 of step 0"});
  auto sound = tempflow::flow_model<float>(70, model_of(-1));
  CHECK(tempflow::roll_out(backend, sound, prompts, steps, plan, key).rows() == 4 * 5);
  auto again = tempflow::flow_model<float>(70, model_of(6));
  plan.check_velocities = false;
  CHECK(tempflow::roll_out(backend, again, prompts, steps, plan, key).rows() == 4 * 5);
}
