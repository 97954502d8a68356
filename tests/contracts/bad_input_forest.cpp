// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Forests that make no sense: typed errors that name the values, before the model is called.

#include <limits>
#include <vector>

#include "support/models.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/fused_rewards.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using support::check_throws;
using tempflow::forest;
using tempflow::index_t;
using tempflow::schedule_error;
using tempflow::value_error;

namespace {

const tempflow::chain steps =
    tempflow::make_chain({1, 0.75, 0.5, 0.25, 0}, tempflow::flow_sde{0.7}, std::vector<index_t>{0, 1, 3});
const tempflow::chain stochastic = tempflow::make_chain({1, 0.75, 0.5, 0.25, 0}, tempflow::flow_sde{0.7});
const std::vector<index_t> prompts{1};

template <class Error>
void rejects(const auto& plan, const std::vector<std::string>& texts) {
  support::row_model<float> model(3);
  check_throws<Error>(
      [&] {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(plan)>, forest>) {
          tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, plan, {});
        } else {
          tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {});
        }
      },
      texts);
  CHECK(model.calls == 0);
}

}  // namespace

TEST_CASE("moves that a chain does not have are errors that name them", "[bad_input][forest]") {
  forest plan(steps);
  const index_t root = plan.start(2);
  check_throws<schedule_error>([&] { plan.ode(root, 0); }, {"knot 0"});
  check_throws<schedule_error>([&] { plan.ode(root, 5); }, {"step 5 of 5"});
  check_throws<value_error>([&] { plan.ode(7, 1); }, {"node 7 of 1"});
  const index_t at_two = plan.ode(root, 2), at_end = plan.ode(root, 4);
  check_throws<schedule_error>([&] { plan.draw(at_two); }, {"step 2", "std = 0"});
  check_throws<schedule_error>([&] { plan.draw(at_end); }, {"step 4", "last knot"});
  check_throws<value_error>([&] { plan.finish(at_two); }, {"stands at knot 2", "knot 4"});
  check_throws<value_error>([&] { plan.draw(root, {.children = 0}); }, {"children = 0", "step 0"});
  check_throws<value_error>([&] { plan.draw(root, {.children = 65537}); }, {"children = 65537"});
  check_throws<value_error>([&] { plan.draw(root, {.children = 2, .branch_offset = 65535}); },
                            {"branches 65535 to 65536", "[0, 65536)"});
  check_throws<value_error>([&] { plan.draw(root, {.branch_offset = -1}); }, {"numbered from -1"});
}

TEST_CASE("numbers of branches do not overflow", "[bad_input][forest]") {
  constexpr index_t huge = std::numeric_limits<index_t>::max();
  forest plan(stochastic);
  const index_t root = plan.start(index_t{1} << 32), many = plan.draw(root, {.children = 65536});
  check_throws<value_error>([&] { plan.draw(many, {.children = 65536}); },
                            {"65536 children of 65536 states"});
  check_throws<value_error>([&] { plan.draw(root, {.branch_offset = huge}); }, {"numbered from", "65536"});
  rejects<value_error>(tempflow::flow_plan{.shared_noise = true, .first_seed = huge}, {"65536"});
}

TEST_CASE("no two draws have one identity", "[bad_input][forest]") {
  forest plan(steps);
  const index_t root = plan.start(2, 4);
  check_throws<value_error>([&] { plan.start(1, 5); }, {"seeds 5 to 5", "seeds 4 to 5"});
  check_throws<value_error>([&] { plan.start(0, 9); }, {"0 seeds"});
  check_throws<value_error>([&] { plan.start(2, 4294967295); }, {"2 seeds from seed 4294967295"});
  check_throws<value_error>([&] { plan.start(1, -1); }, {"seed -1"});
  plan.draw(root, {.children = 3});
  check_throws<value_error>([&] { plan.draw(root, {.children = 2, .branch_offset = 2}); },
                            {"branches 2 to 3 of step 0", "node 1, branches 0 to 2"});
  CHECK(plan.draw(root, {.children = 2, .branch_offset = 3}) == 2);
}

TEST_CASE("a forest that cannot be rolled out says why", "[bad_input][forest]") {
  forest plan(steps);
  rejects<value_error>(plan, {"nothing has been started"});
  const index_t root = plan.start(1), end = plan.ode(root, 4);
  rejects<value_error>(plan, {"node 1 ends at knot 4", "finished"});
  plan.finish(end);
  plan.max_batch = -1;
  rejects<value_error>(plan, {"max_batch = -1"});
  plan.max_batch = 0;
  plan.antithetic = true;
  plan.finish(plan.ode(plan.draw(root, {.children = 3}), 4));
  rejects<value_error>(plan, {"step 0 draws branches 0 to 2", "even"});
}

TEST_CASE("a rollout larger than its memory is refused, in bytes", "[bad_input][forest]") {
  tempflow::branch_plan plan{.seeds_per_prompt = 1, .explorations = 2};
  const auto cost = plan.cost(steps, 1, 3, sizeof(float));
  plan.max_bytes = cost.bytes + cost.working_bytes - 1;
  rejects<value_error>(plan, {"takes " + std::to_string(plan.max_bytes + 1) + " bytes",
                              "max_bytes = " + std::to_string(plan.max_bytes)});
  ++plan.max_bytes;
  support::row_model<float> model(3);
  CHECK(tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {}).rows() == 4);
}

TEST_CASE("plans whose groups, pairs and splits make no sense are errors", "[bad_input][forest]") {
  rejects<value_error>(tempflow::branch_plan{.explorations = 3, .antithetic = true},
                       {"explorations = 3", "even"});
  rejects<value_error>(tempflow::branch_plan{.completion_steps = {1, 2, 3}},
                       {"completion_steps has 3 entries", "2 branching steps"});
  rejects<value_error>(tempflow::branch_plan{.completion_steps = {}}, {"completion_steps has 0 entries"});
  rejects<value_error>(tempflow::branch_plan{.first_seed = -2}, {"first_seed = -2"});
  rejects<value_error>(tempflow::branch_plan{.seeds_per_prompt = 20000, .shared_noise = true},
                       {"children = 120000"});
  rejects<value_error>(tempflow::flow_plan{.antithetic = true}, {"antithetic", "shared"});
  rejects<value_error>(tempflow::flow_plan{.samples_per_prompt = 3, .shared_noise = true, .antithetic = true},
                       {"samples_per_prompt = 3"});
  rejects<value_error>(tempflow::flow_plan{.shared_noise = true, .first_seed = 65530}, {"65530", "65536"});
  rejects<schedule_error>(tempflow::tree_plan{.split_steps = {2}}, {"split step 2", "std = 0"});
  rejects<schedule_error>(tempflow::tree_plan{.split_steps = {1, 0}}, {"steps[1] = 0"});
  rejects<schedule_error>(tempflow::tree_plan{.split_steps = {}}, {"no split steps"});
  rejects<value_error>(tempflow::tree_plan{.split_steps = {1}, .antithetic = true},
                       {"first split at step 1", "first noisy step (0)"});
  rejects<value_error>(tempflow::tree_plan{.children = 3, .split_steps = {0}, .antithetic = true},
                       {"3 children"});
  rejects<value_error>(tempflow::tree_plan{.children = 1, .split_steps = {0}}, {"children = 1"});
}

TEST_CASE("a chain brings its own deterministic step, or is refused where one is needed",
          "[bad_input][forest]") {
  const auto vp = [](const tempflow::sigma_step& at) {
    return tempflow::transition{.alpha = 0.9, .beta = at.sigma_next - at.sigma, .std = 0.1};
  };
  const auto vp_ode = [](const tempflow::sigma_step& at) {
    return tempflow::transition{.alpha = 0.8, .beta = at.sigma_next - at.sigma};
  };
  support::row_model<float> model(3);
  const auto refused = tempflow::make_chain({1, 0.5, 0}, vp);
  check_throws<schedule_error>(
      [&] {
        tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, refused,
                           tempflow::branch_plan{.branch_steps = {0}}, {});
      },
      {"no deterministic step"});
  check_throws<schedule_error>(
      [&] {
        tempflow::make_chain({1, 0.5, 0}, vp, std::vector<index_t>{0});
      },
      {"step 1", "deterministic"});
  CHECK(model.calls == 0);
  const auto own = tempflow::make_chain({1, 0.5, 0}, vp, vp_ode);
  CHECK(own.ode_step(0, 2).alpha == 0.8);
  CHECK(own[0].alpha == 0.9);
  CHECK(tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, own,
                           tempflow::branch_plan{.branch_steps = {0}}, {})
            .rows() == 24);
  const auto noisy = tempflow::make_chain({1, 0.5, 0}, vp, tempflow::flow_sde{0.7});
  check_throws<schedule_error>([&] { noisy.ode_step(0, 2); }, {"knot 0 to knot 2", "std = "});
  const auto bare = [](const tempflow::sigma_step& at) {  // no more than a chain's dynamics need to fill
    return tempflow::transition{.alpha = 1, .beta = at.sigma_next - at.sigma};
  };
  forest flow(tempflow::make_chain({1, 0.5, 0}, vp, bare));
  CHECK(flow.ode(flow.start(1), 1, tempflow::ode_solver::dpm_solver_2m) == 1);
  forest plan(own);
  const index_t root = plan.start(1);
  check_throws<schedule_error>([&] { plan.ode(root, 1, tempflow::ode_solver::dpm_solver_2m); },
                               {"flows", "alpha = 0.8"});
}

TEST_CASE("groups that cannot be told apart are refused", "[bad_input][forest]") {
  support::row_model<float> model(3);
  const auto rollout =
      tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps,
                         tempflow::flow_plan{.samples_per_prompt = 1, .first_seed = 32768}, {});
  check_throws<value_error>([&] { rollout.seed_groups(); }, {"seed 32768 of prompt 1", "below 32768"});
  CHECK(rollout.prompt_groups().size() == 1);
}

TEST_CASE("rewards and advantages of trees that do not fit are errors", "[bad_input][forest]") {
  support::row_model<float> model(3);
  auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps,
                                    tempflow::tree_plan{.split_steps = {0, 1}}, {});
  REQUIRE(rollout.samples().rows() == 4);
  const std::vector<double> three(3), four(4), weights(4, 1.0);
  check_throws<tempflow::shape_error>([&] { tempflow::fused_rewards(rollout, three); },
                                      {"rewards has 3 entries, expected 4"});
  check_throws<value_error>([&] { tempflow::minibatches(rollout, four, weights); },
                            {"row 0 led to 2 samples", "fuse"});
  check_throws<tempflow::shape_error>(
      [&] { tempflow::minibatches(rollout, four, weights, {.advantages = tempflow::advantage_of::rows}); },
      {"advantages has 4 entries, expected 6"});
}
