// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Plans and prompts that make no sense: typed errors that name the values, before the model is called.

#include <stdexcept>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using support::row_model;
using tempflow::branch_plan;
using tempflow::flow_plan;
using tempflow::group_error;
using tempflow::index_t;
using tempflow::schedule_error;
using tempflow::shape_error;
using tempflow::value_error;

namespace {

using texts = std::vector<std::string>;
using ids = std::vector<index_t>;

tempflow::chain mixed_chain() {
  return tempflow::make_chain({1, 0.75, 0.5, 0.25, 0}, tempflow::flow_sde{0.7},
                              std::vector<index_t>{0, 1, 3});
}

tempflow::chain stochastic_chain() {
  return tempflow::make_chain({1, 0.75, 0.5, 0.25, 0}, tempflow::flow_sde{0.7});
}

template <class Error>
void branch_rejects(const branch_plan& plan, const ids& prompts, const texts& expected,
                    const tempflow::chain& steps = stochastic_chain(), index_t dimension = 3) {
  row_model<float> model(dimension);
  support::check_throws<Error>(
      [&] { tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {}); }, expected);
  CHECK(model.calls == 0);
}

template <class Error>
void flow_rejects(const flow_plan& plan, const ids& prompts, const texts& expected,
                  const tempflow::chain& steps = stochastic_chain(), index_t dimension = 3) {
  row_model<float> model(dimension);
  support::check_throws<Error>(
      [&] { tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {}); }, expected);
  CHECK(model.calls == 0);
}

}  // namespace

TEST_CASE("counts of a branch plan that make no sense are errors that name them, K = 0 included",
          "[bad_input]") {
  branch_rejects<value_error>({.explorations = 0}, {1}, {"explorations = 0", "at least 1"});
  branch_rejects<value_error>({.explorations = 65537}, {1}, {"explorations = 65537", "65536"});
  branch_rejects<value_error>({.seeds_per_prompt = 0}, {1}, {"seeds_per_prompt = 0"});
  branch_rejects<value_error>({.completion_steps = {-1}}, {1}, {"completion_steps = -1"});
  branch_rejects<value_error>({.max_batch = -5}, {1}, {"max_batch = -5"});
}

TEST_CASE("branching steps that cannot branch are errors that name the step", "[bad_input]") {
  branch_rejects<schedule_error>({.branch_steps = {0, 2}}, {1}, {"step 2", "std = 0"}, mixed_chain());
  branch_rejects<schedule_error>({.branch_steps = {1, 0}}, {1}, {"steps[1] = 0"});
  branch_rejects<schedule_error>({.branch_steps = {1, 1}}, {1}, {"steps[1] = 1"});
  branch_rejects<schedule_error>({.branch_steps = {4}}, {1}, {"steps[0] = 4", "[0, 4)"});
  branch_rejects<schedule_error>({}, {1}, {"no branching steps", "1 steps"},
                                 tempflow::make_chain({1, 0}, tempflow::flow_sde{0.7}));
}

TEST_CASE("without branching steps a plan takes the chain's trainable ones", "[bad_input]") {
  CHECK(branch_plan{}.steps_on(mixed_chain()) == ids{0, 1});
  CHECK(flow_plan{}.steps_on(mixed_chain()) == ids{0, 1});
}

TEST_CASE("prompts that are none, repeated or no ids are errors that name them", "[bad_input]") {
  branch_rejects<value_error>({}, {}, {"roll_out", "no prompts"});
  branch_rejects<group_error>({}, {3, 9, 3}, {"prompt id 3", "twice"});
  branch_rejects<value_error>({}, {3, -1}, {"prompt id -1"});
  branch_rejects<value_error>({}, {4294967296}, {"prompt id 4294967296"});
  flow_rejects<value_error>({}, {}, {"roll_out", "no prompts"});
  flow_rejects<group_error>({}, {3, 9, 3}, {"prompt id 3", "twice"});
}

TEST_CASE("a model without elements is an error", "[bad_input]") {
  branch_rejects<shape_error>({}, {1}, {"dimension is 0"}, stochastic_chain(), 0);
  flow_rejects<shape_error>({}, {1}, {"dimension is 0"}, stochastic_chain(), 0);
}

TEST_CASE("Flow-GRPO plans that make no sense are errors that name the values", "[bad_input]") {
  flow_rejects<value_error>({.samples_per_prompt = 0}, {1}, {"samples_per_prompt = 0"});
  flow_rejects<value_error>({.max_batch = -1}, {1}, {"max_batch = -1"});
  flow_rejects<schedule_error>({.trained_steps = {2}}, {1}, {"step 2", "std = 0"}, mixed_chain());
  flow_rejects<schedule_error>({.trained_steps = {3, 1}}, {1}, {"steps[1] = 1"});
  flow_rejects<schedule_error>({}, {1}, {"no trained steps"},
                               tempflow::make_chain({1, 0.5, 0}, tempflow::ode{}));
}

TEST_CASE("where only the last step draws noise, plans say that it must be listed, and how", "[bad_input]") {
  const ids last{4};
  const auto steps = tempflow::make_chain(tempflow::sd3_sigmas(5), tempflow::flow_sde{0.7}, last);
  branch_rejects<schedule_error>({}, {1}, {"no branching steps", "only the last, 4,", "branch_steps = {4}"},
                                 steps);
  flow_rejects<schedule_error>({}, {1}, {"no trained steps", "only the last, 4,", "trained_steps = {4}"},
                               steps);
  support::check_throws<schedule_error>([&] { tempflow::tree_plan{.split_steps = {4}}.validate(steps); },
                                        {"tree_plan: no trained steps", "trained_steps = {4}"});
  CHECK_NOTHROW(branch_plan{.branch_steps = {4}}.on(steps));
  CHECK_NOTHROW(flow_plan{.trained_steps = {4}}.on(steps));
  CHECK_NOTHROW(tempflow::tree_plan{.split_steps = {4}, .trained_steps = {4}}.on(steps));
  // Where no step draws, nothing can be listed.
  const auto none = tempflow::make_chain({1, 0.5, 0}, tempflow::ode{});
  CHECK_THROWS_MATCHES(flow_plan{}.validate(none), schedule_error,
                       !Catch::Matchers::MessageMatches(Catch::Matchers::ContainsSubstring("listed")));
}

TEST_CASE("what a plan costs can only be told of a plan that makes sense", "[bad_input]") {
  support::check_throws<value_error>([] { branch_plan{.explorations = 0}.cost(stochastic_chain(), 1); },
                                     {"explorations = 0"});
  support::check_throws<value_error>([] { flow_plan{.samples_per_prompt = -2}.cost(stochastic_chain(), 1); },
                                     {"samples_per_prompt = -2"});
}

TEST_CASE("an exception of the model passes through", "[bad_input]") {
  auto model = tempflow::flow_model<float>(
      3, [](auto, auto, auto, auto) { throw std::runtime_error("out of memory"); });
  const ids prompts{1};
  support::check_throws<std::runtime_error>(
      [&] {
        tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, stochastic_chain(),
                           tempflow::branch_plan{}, {});
      },
      {"out of memory"});
  support::check_throws<std::runtime_error>(
      [&] {
        tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, stochastic_chain(),
                           tempflow::flow_plan{}, {});
      },
      {"out of memory"});
}
