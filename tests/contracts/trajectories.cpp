// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a rollout leaves behind: rows, groups, and noise that can be drawn again; and Flow-GRPO's plain
// rollout.

#include "tempflow/rollout/trajectories.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::row_model;
using tempflow::batch_buffer;
using tempflow::chain;
using tempflow::index_t;
using tempflow::trajectories;

namespace {

constexpr index_t dimension = 9;
constexpr tempflow::noise_key key{.seed = 5};
const std::vector<index_t> prompts{4, 2, 11};

chain five_steps() { return tempflow::make_chain(tempflow::flux_sigmas(5), tempflow::flow_sde{0.9}); }

trajectories<float> branches() {
  row_model<float> model(dimension);
  return tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, five_steps(),
                            tempflow::branch_plan{.seeds_per_prompt = 2, .explorations = 3}, key);
}

trajectories<float> flow(const chain& steps, const tempflow::flow_plan& plan, index_t threads = 1) {
  row_model<float> model(dimension);
  return tempflow::roll_out(tempflow::cpu_backend(threads), model, prompts, steps, plan, key);
}

// Two samples share a group exactly when `identity` is equal.
template <class Identity>
void check_groups(const trajectories<float>& rollout, const std::vector<std::int64_t>& groups,
                  const Identity& identity) {
  const auto who = rollout.identities();
  REQUIRE(groups.size() == who.size());
  int wrong = 0;
  for (std::size_t a = 0; a < who.size(); ++a) {
    for (std::size_t b = 0; b < who.size(); ++b) {
      wrong += (groups[a] == groups[b]) == (identity(who[a]) == identity(who[b])) ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("seed groups hold siblings, prompt groups a prompt's samples of a step, step groups a step's",
          "[rollout]") {
  const auto rollout = branches();
  check_groups(rollout, rollout.seed_groups(),
               [](const auto& s) { return std::tuple(s.prompt, s.seed, s.step); });
  check_groups(rollout, rollout.prompt_groups(), [](const auto& s) { return std::tuple(s.prompt, s.step); });
  check_groups(rollout, rollout.step_groups(), [](const auto& s) { return s.step; });
  const auto distinct = [](const std::vector<std::int64_t>& ids) {
    return std::set(ids.begin(), ids.end()).size();
  };
  CHECK(distinct(rollout.seed_groups()) == 3 * 2 * 4);
  CHECK(distinct(rollout.prompt_groups()) == 3 * 4);
  CHECK(distinct(rollout.step_groups()) == 4);
}

TEST_CASE("siblings share their state, and it is stored once", "[rollout]") {
  const auto rollout = branches();
  CHECK(rollout.states().rows() == 4 * 6 + 4 * 6 * 3);  // trunk states and branch states of four steps
  const auto groups = rollout.seed_groups();
  for (index_t i = 1; i < rollout.rows(); ++i) {
    const bool siblings = groups[static_cast<std::size_t>(i)] == groups[static_cast<std::size_t>(i - 1)];
    CHECK((rollout.row(i).state == rollout.row(i - 1).state) == siblings);
  }
}

TEST_CASE("a rollout gives its buffers out by move, and can be made of them again", "[rollout]") {
  const auto expected = branches();
  auto rollout = branches();
  const float* const states = rollout.states().data();
  const float* const samples = rollout.samples().data();
  auto parts = std::move(rollout).release();
  CHECK(parts.states.view().data() == states);  // moved, not copied
  CHECK(parts.samples.view().data() == samples);
  CHECK(parts.log_probs == std::vector(expected.log_probs().begin(), expected.log_probs().end()));
  CHECK(parts.table.size() == static_cast<std::size_t>(expected.rows()));

  const trajectories<float> again(std::move(parts));
  CHECK(support::same_bits(again.states(), expected.states()));
  CHECK(support::same_bits(again.samples(), expected.samples()));
  CHECK(again.seed_groups() == expected.seed_groups());

  const batch_buffer<float> of_a_temporary = branches().release().samples;
  CHECK(support::same_bits(of_a_temporary.view(), expected.samples()));
  const auto can_release = [](auto&& from) {
    return requires { std::forward<decltype(from)>(from).release(); };
  };
  CHECK_FALSE(can_release(rollout));  // not without std::move
}

TEST_CASE("the trained steps are those that have rows", "[rollout]") {
  CHECK(branches().trained_steps() == std::vector<index_t>{0, 1, 2, 3});
  CHECK(flow(five_steps(), {.samples_per_prompt = 2, .trained_steps = {1, 4}}).trained_steps() ==
        std::vector<index_t>{1, 4});
}

TEST_CASE("the noise of a row can be drawn again instead of stored", "[rollout]") {
  for (const auto& rollout : {branches(), flow(five_steps(), {.samples_per_prompt = 4})}) {
    row_model<float> model(dimension);
    int wrong = 0;
    for (index_t i = 0; i < rollout.rows(); ++i) {
      const auto& row = rollout.row(i);
      const auto& step = rollout.steps()[row.step];
      const auto x = rollout.states().slice(row.state, 1);
      const index_t prompt = rollout.identities()[static_cast<std::size_t>(row.sample)].prompt;
      batch_buffer<float> v(1, dimension), y(1, dimension);
      model.velocity(x, std::span(&step.sigma, 1), std::span(&prompt, 1), v.view());
      double log_prob = 0;
      tempflow::step(tempflow::cpu_backend(1), x, v, step, {rollout.key(), row.noise}, y,
                     std::span(&log_prob, 1));
      wrong += support::same_bits(y.view(), rollout.states().slice(row.successor, 1)) ? 0 : 1;
      wrong += log_prob == rollout.log_probs()[static_cast<std::size_t>(i)] ? 0 : 1;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("Flow-GRPO's rollout is one stochastic trajectory a sample, with a row for each trained step",
          "[rollout]") {
  const std::vector<index_t> window{1, 2};
  const tempflow::cpu_backend cpu(1);
  for (const auto& steps :
       {five_steps(), tempflow::make_chain(tempflow::flux_sigmas(5), tempflow::flow_sde{0.9}, window)}) {
    const tempflow::flow_plan plan{.samples_per_prompt = 2};
    const auto rollout = flow(steps, plan);
    const auto trained = plan.steps_on(steps);
    REQUIRE(rollout.rows() == static_cast<index_t>(trained.size()) * 6);
    index_t sample = 0;
    int wrong = 0;
    for (const index_t prompt : prompts) {
      for (index_t seed = 0; seed < 2; ++seed, ++sample) {
        row_model<float> model(dimension);
        batch_buffer<float> x(1, dimension), v(1, dimension), y(1, dimension);
        tempflow::noise_id id{.prompt = static_cast<std::uint32_t>(prompt),
                              .seed = static_cast<std::uint32_t>(seed),
                              .step = tempflow::initial_noise_step};
        tempflow::fill_noise(cpu, {key, id}, x.view());
        index_t trained_before = 0;
        for (index_t j = 0; j < steps.steps(); ++j) {
          id.step = static_cast<std::uint16_t>(j);
          model.velocity(x.view(), std::span(&steps[j].sigma, 1), std::span(&prompt, 1), v.view());
          double log_prob = 0;
          if (steps[j].stochastic()) {
            tempflow::step(cpu, x.view(), v, steps[j], {key, id}, y, std::span(&log_prob, 1));
          } else {
            tempflow::ode_step(cpu, x.view(), v, steps[j], y);
          }
          if (std::ranges::find(trained, j) != trained.end()) {
            const auto& row = rollout.row(6 * trained_before + sample);
            wrong += row.step == j && row.sample == sample ? 0 : 1;
            wrong += support::same_bits(x.view(), rollout.states().slice(row.state, 1)) ? 0 : 1;
            wrong += support::same_bits(y.view(), rollout.states().slice(row.successor, 1)) ? 0 : 1;
            wrong += log_prob == rollout.log_probs()[static_cast<std::size_t>(6 * trained_before + sample)]
                         ? 0
                         : 1;
            ++trained_before;
          }
          x = y;
        }
        wrong += support::same_bits(x.view(), rollout.samples().slice(sample, 1)) ? 0 : 1;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("Flow-GRPO trains every stochastic step but the chain's last, unless told otherwise", "[rollout]") {
  CHECK(tempflow::flow_plan{}.steps_on(five_steps()) == std::vector<index_t>{0, 1, 2, 3});
  const std::vector<index_t> window{1, 2};
  const auto mixed = tempflow::make_chain(tempflow::flux_sigmas(5), tempflow::flow_sde{0.9}, window);
  CHECK(tempflow::flow_plan{}.steps_on(mixed) == window);
  CHECK(tempflow::flow_plan{.trained_steps = {4}}.steps_on(five_steps()) == std::vector<index_t>{4});
}

TEST_CASE("Flow-GRPO's rollout has the same bits for chunks of any size and any number of threads",
          "[rollout]") {
  const auto expected = flow(five_steps(), {.samples_per_prompt = 5});
  for (const index_t threads : {1, 2, 3}) {
    for (const index_t limit : {1, 4, 15, 100}) {
      const auto other = flow(five_steps(), {.samples_per_prompt = 5, .max_batch = limit}, threads);
      CHECK(support::same_bits(other.states(), expected.states()));
      CHECK(support::same_bits(other.samples(), expected.samples()));
      CHECK(support::same_bits(other.log_probs(), expected.log_probs()));
    }
  }
}

TEST_CASE("Flow-GRPO's groups are a prompt's samples", "[rollout]") {
  const auto rollout = flow(five_steps(), {.samples_per_prompt = 4});
  check_groups(rollout, rollout.prompt_groups(), [](const auto& s) { return s.prompt; });
}
