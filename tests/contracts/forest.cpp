// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Forests of every shape against trajectories walked one by one: the same bits, the told cost, and the same
// group on any number of processes.

#include "tempflow/rollout/forest.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/models.hpp"
#include "support/walker.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"
#include "tempflow/rollout/tree_plan.hpp"

using support::row_model;
using support::walker;
using tempflow::bfloat16;
using tempflow::branch_plan;
using tempflow::chain;
using tempflow::flow_plan;
using tempflow::forest;
using tempflow::index_t;
using tempflow::noise_id;
using tempflow::ode_solver;
using tempflow::trajectories;
using tempflow::tree_plan;

namespace {

constexpr index_t dimension = 21;
constexpr tempflow::noise_key key{.seed = 31, .update = 7};
const std::vector<index_t> prompts{5, 2};

chain six_steps() { return tempflow::make_chain(tempflow::sd3_sigmas(6), tempflow::flow_sde{0.7}); }
chain window_of_two() {
  return tempflow::make_chain(tempflow::sd3_sigmas(6), tempflow::flow_sde{0.7}, std::vector<index_t>{2, 3});
}

template <class T = float, class Plan>
trajectories<T> roll(const Plan& plan, const chain& steps, std::span<const index_t> of = prompts) {
  row_model<T> model(dimension);
  return tempflow::roll_out(tempflow::cpu_backend(2), model, of, steps, plan, key);
}

// Every row and sample of a rollout, by what its identities say that it is.
template <class T, class Walk>
void check_samples(const trajectories<T>& rollout, const Walk& walk) {
  int wrong = 0;
  for (index_t i = 0; i < rollout.samples().rows(); ++i) {
    const auto& who = rollout.identities()[static_cast<std::size_t>(i)];
    std::vector<index_t> path;
    for (index_t row = rollout.last_row(i); row >= 0; row = rollout.row(row).parent)
      path.insert(path.begin(), row);
    const auto walked = walk(who, path);
    wrong += support::same_bits(walked.view(), rollout.samples().slice(i, 1)) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

template <class Rollout>
bool row_is(const Rollout& rollout, index_t index, const auto& before, const auto& after, double log_prob) {
  const auto& row = rollout.row(index);
  return support::same_bits(before.view(), rollout.states().slice(row.state, 1)) &&
         support::same_bits(after.view(), rollout.states().slice(row.successor, 1)) &&
         log_prob == rollout.log_probs()[static_cast<std::size_t>(index)];
}

noise_id start_of(index_t prompt, index_t seed) {
  return {.prompt = static_cast<std::uint32_t>(prompt), .seed = static_cast<std::uint32_t>(seed)};
}

// Two rollouts, of which the second's samples are the first's from `first` on, block by block of a prompt.
template <class T>
bool same_sample(const trajectories<T>& a, index_t i, const trajectories<T>& b, index_t j) {
  return support::same_bits(a.samples().slice(i, 1), b.samples().slice(j, 1));
}

// Samples of parts of a group, collected by several processes, are those of one.
template <class Plan>
void check_processes(const Plan& whole, const std::vector<Plan>& parts, const chain& steps) {
  const auto all = roll(whole, steps);
  const auto groups = all.prompt_groups(), siblings = all.seed_groups();
  std::vector<int> found(groups.size());
  for (const Plan& part : parts) {
    const auto some = roll(part, steps);
    const auto some_groups = some.prompt_groups(), some_siblings = some.seed_groups();
    for (index_t i = 0; i < some.samples().rows(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto& who = some.identities()[at];
      for (std::size_t j = 0; j < groups.size(); ++j) {
        const auto& other = all.identities()[j];
        if (other.prompt != who.prompt || other.seed != who.seed || other.step != who.step ||
            other.branch != who.branch) {
          continue;
        }
        const auto row = some.last_row(i), same_row = all.last_row(static_cast<index_t>(j));
        found[j] += same_sample(some, i, all, static_cast<index_t>(j)) && some_groups[at] == groups[j] &&
                            some_siblings[at] == siblings[j] &&
                            some.log_probs()[static_cast<std::size_t>(row)] ==
                                all.log_probs()[static_cast<std::size_t>(same_row)]
                        ? 1
                        : 100;
      }
    }
  }
  CHECK(std::ranges::all_of(found, [](int times) { return times == 1; }));
}

}  // namespace

TEMPLATE_TEST_CASE("samples that share their noise share the way to a window of noisy steps", "[forest]",
                   float, bfloat16) {
  const flow_plan plan{.samples_per_prompt = 4, .shared_noise = true};
  const chain steps = window_of_two();
  const auto rollout = roll<TestType>(plan, steps);
  // Knots 0 and 1 once per prompt, knot 2 too, where the samples part; 3, 4 and 5 for each sample.
  CHECK(plan.cost(steps, 2).model_evaluations == 2 * (3 + 4 * 3));
  REQUIRE(rollout.samples().rows() == 8);
  CHECK(rollout.states().rows() == 2 * (1 + 4 + 4));
  check_samples(rollout, [&](const auto& who, const auto& path) {
    walker<TestType> walk(steps, dimension, key, start_of(who.prompt, 0));
    walk.ode(0, 1), walk.ode(1, 2);
    for (std::size_t step = 2; step < 4; ++step) {
      const auto before = walk.x;
      const double log_prob = walk.draw(static_cast<index_t>(step), who.branch);
      CHECK(row_is(rollout, path[step - 2], before, walk.x, log_prob));
    }
    walk.ode(4, 5), walk.ode(5, 6);
    return walk.x;
  });
  const auto groups = rollout.seed_groups();
  CHECK(std::ranges::count(groups, groups[0]) == 4);
}

TEST_CASE("24 samples behind a shared prefix of four steps take 148 evaluations instead of 240", "[forest]") {
  const auto steps =
      tempflow::make_chain(tempflow::sd3_sigmas(10), tempflow::flow_sde{0.7}, std::vector<index_t>{3, 4});
  CHECK(flow_plan{}.cost(steps, 1).model_evaluations == 240);
  // Knots 0 to 3 once, 4 to 9 for each sample.
  CHECK(flow_plan{.shared_noise = true}.cost(steps, 1).model_evaluations == 4 + 24 * 6);
}

TEST_CASE("trajectories that part at every step share their past", "[forest]") {
  const tree_plan plan{.trees_per_prompt = 2, .children = 2, .split_steps = {0, 2}};
  const chain steps = six_steps();
  const auto rollout = roll(plan, steps);
  REQUIRE(rollout.samples().rows() == 2 * 2 * 4);
  // Rows of a tree: 2 at steps 0 and 1, 4 at steps 2 to 4; the last step is not trained.
  REQUIRE(rollout.rows() == 4 * (2 + 2 + 4 + 4 + 4));
  // Each state once: the roots, and what the five trained steps reach.
  CHECK(rollout.states().rows() == 4 * (1 + 2 + 2 + 4 + 4 + 4));
  CHECK(plan.cost(steps, 2).model_evaluations == 4 * (1 + 2 + 2 + 4 + 4 + 4));
  CHECK(plan.cost(steps, 2).trained_states == 4 * (1 + 2 + 2 + 4 + 4));
  check_samples(rollout, [&](const auto& who, const auto& path) {
    walker<float> walk(steps, dimension, key, start_of(who.prompt, who.seed));
    REQUIRE(path.size() == 5);
    for (std::size_t step = 0; step < 6; ++step) {
      const auto before = walk.x;
      const double log_prob = walk.draw(static_cast<index_t>(step), step < 2 ? who.branch / 2 : who.branch);
      if (step < 5) CHECK(row_is(rollout, path[step], before, walk.x, log_prob));
    }
    return walk.x;
  });
  // Each row leads to the samples whose paths it lies on.
  for (index_t i = 0; i < rollout.rows(); ++i)
    CHECK(rollout.row(i).samples == (rollout.row(i).step < 2 ? 2 : 1));
}

TEST_CASE("a step that follows a trained step starts at its successor, which is stored once", "[forest]") {
  const auto rollout = roll(flow_plan{.samples_per_prompt = 3}, six_steps());
  CHECK(rollout.states().rows() == 6 * (5 + 1));  // five trained steps; two states per row were 60
  for (index_t i = 6; i < rollout.rows(); ++i) {
    CHECK(rollout.row(i).state == rollout.row(i - 6).successor);
    CHECK(rollout.row(i).parent == i - 6);
  }
}

TEST_CASE("antithetic branches mirror each other about the mean", "[forest]") {
  const chain steps = six_steps();
  for (const bool shared : {false, true}) {
    const branch_plan plan{
        .seeds_per_prompt = 2, .explorations = 4, .antithetic = true, .shared_noise = shared};
    const auto rollout = roll(plan, steps);
    const auto plain =
        roll(branch_plan{.seeds_per_prompt = 2, .explorations = 4, .shared_noise = shared}, steps);
    int wrong = 0;
    for (index_t i = 0; i < rollout.rows(); i += 2) {
      const auto& even = rollout.row(i);
      const auto& odd = rollout.row(i + 1);
      wrong += even.state == odd.state && odd.noise.branch == even.noise.branch + 1 ? 0 : 1;
      // The even branch is what it was without a mirror.
      wrong += support::same_bits(rollout.states().slice(even.successor, 1),
                                  plain.states().slice(plain.row(i).successor, 1))
                   ? 0
                   : 1;
      const auto& step = steps[even.step];
      tempflow::batch_buffer<float> z(1, dimension);
      tempflow::fill_noise(tempflow::cpu_backend(1), tempflow::noise_source(key, even.noise), z.view());
      for (index_t e = 0; e < dimension; ++e) {
        const double up = rollout.states().row(even.successor)[e],
                     down = rollout.states().row(odd.successor)[e];
        const double drawn = z.view().row(0)[e];
        wrong += std::abs((up - down) / 2 - step.std * drawn) < 4e-6 ? 0 : 1;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("a group has the bits and the ids of one process on two and on four", "[forest]") {
  const chain steps = six_steps();
  const branch_plan branches{.seeds_per_prompt = 4, .explorations = 2, .completion_steps = {2}};
  const flow_plan flow{.samples_per_prompt = 8};
  const tree_plan trees{.trees_per_prompt = 4, .split_steps = {1, 3}};
  for (const index_t processes : {1, 2, 4}) {
    for (const bool shared : {false, true}) {
      for (const bool antithetic : {false, true}) {
        INFO(processes << " processes, shared noise " << shared << ", antithetic " << antithetic);
        auto whole = branches;
        whole.shared_noise = shared, whole.antithetic = antithetic;
        std::vector<branch_plan> parts(static_cast<std::size_t>(processes), whole);
        for (index_t p = 0; p < processes; ++p) {
          parts[static_cast<std::size_t>(p)].seeds_per_prompt = 4 / processes;
          parts[static_cast<std::size_t>(p)].first_seed = 4 / processes * p;
        }
        check_processes(whole, parts, steps);
        if (antithetic && !shared) continue;
        auto all = flow;
        all.shared_noise = shared, all.antithetic = antithetic;
        std::vector<flow_plan> pieces(static_cast<std::size_t>(processes), all);
        for (index_t p = 0; p < processes; ++p) {
          pieces[static_cast<std::size_t>(p)].samples_per_prompt = 8 / processes;
          pieces[static_cast<std::size_t>(p)].first_seed = 8 / processes * p;
        }
        check_processes(all, pieces, steps);
      }
    }
    std::vector<tree_plan> parts(static_cast<std::size_t>(processes), trees);
    for (index_t p = 0; p < processes; ++p) {
      parts[static_cast<std::size_t>(p)].trees_per_prompt = 4 / processes;
      parts[static_cast<std::size_t>(p)].first_seed = 4 / processes * p;
    }
    check_processes(trees, parts, steps);
  }
}

TEST_CASE("what is drawn again need not be stored: at K = 6, a seventh of the states", "[forest]") {
  const branch_plan stored{.seeds_per_prompt = 2, .explorations = 6};
  auto drawn = stored;
  drawn.redraw = true;
  const chain steps = six_steps();
  const auto a = roll(stored, steps), b = roll(drawn, steps);
  CHECK(a.states().rows() == 7 * b.states().rows());
  CHECK(support::same_bits(a.samples(), b.samples()));
  CHECK(support::same_bits(a.log_probs(), b.log_probs()));
  CHECK(a.stores_successors());
  CHECK_FALSE(b.stores_successors());
  int wrong = 0;
  for (index_t i = 0; i < a.rows(); ++i) {
    wrong += support::same_bits(a.states().slice(a.row(i).state, 1), b.states().slice(b.row(i).state, 1)) &&
                     b.row(i).successor == -1 && a.row(i).noise == b.row(i).noise
                 ? 0
                 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("a forest of one's own: two trunks, of which one is left by two kinds of branches", "[forest]") {
  const chain steps = six_steps();
  forest plan(steps);
  const index_t first = plan.start(1, 0), second = plan.start(2, 5);
  const index_t a = plan.draw(first, {.children = 3}),
                b = plan.draw(first, {.children = 2, .branch_offset = 3});
  const index_t trunk = plan.ode(first, 1);
  plan.finish(plan.ode(a, 6));
  plan.finish(plan.ode(plan.ode(b, 3), 6));
  plan.finish(plan.ode(plan.draw(trunk), 6));
  plan.finish(plan.ode(second, 6));
  row_model<float> model(dimension);
  const auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, plan, key);
  CHECK(rollout.samples().rows() == 2 * (3 + 2 + 1));
  CHECK(rollout.trunk_samples().rows() == 2 * 2);
  check_samples(rollout, [&](const auto& who, const auto&) {
    walker<float> walk(steps, dimension, key, start_of(who.prompt, who.seed));
    if (who.step == 1) walk.ode(0, 1);
    walk.draw(who.step, who.branch);
    if (who.step == 0 && who.branch >= 3)
      walk.ode(1, 3), walk.ode(3, 6);
    else
      walk.ode(who.step + 1, 6);
    return walk.x;
  });
}

TEST_CASE("a step of the chain that draws no noise is taken as it is", "[forest]") {
  const tempflow::transition noisy{.alpha = 0.9, .beta = -0.5, .std = 0.3},
      plain{.alpha = 0.5, .beta = -0.25};
  auto model = tempflow::flow_model<float>(1, [](auto x, auto, auto, auto v) {
    for (index_t i = 0; i < x.rows(); ++i) v.row(i)[0] = 0;
  });
  for (const auto& steps :
       {chain({1, 0.5, 0}, {noisy, plain}), chain({1, 0.5, 0}, {noisy, plain}, tempflow::ode{})}) {
    const auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps,
                                            flow_plan{.samples_per_prompt = 1, .trained_steps = {0}}, key);
    CHECK(rollout.samples().row(0)[0] == 0.5f * rollout.states().row(rollout.row(0).successor)[0]);
  }
}

TEST_CASE("steps of second order approach the ODE's end with the square of their length", "[forest]") {
  // Data ~ N(0, c^2): v = (sigma - (1 - sigma) c^2) x / (sigma^2 + (1 - sigma)^2 c^2), whose ODE multiplies
  // x by sqrt(sigma^2 + (1 - sigma)^2 c^2) on its way: from 1 at sigma = 1 to c.
  constexpr double c = 0.5;
  auto model = tempflow::flow_model<double>(1, [](auto x, auto sigma, auto, auto v) {
    for (index_t i = 0; i < x.rows(); ++i) {
      const double s = sigma[static_cast<std::size_t>(i)], d = 1 - s;
      v.row(i)[0] = (s - d * c * c) / (s * s + d * d * c * c) * x.row(i)[0];
    }
  });
  const auto error = [&](index_t count, ode_solver solver) {
    // From .9 to .1, where lambda is bounded; the ODE's own factor between them is known.
    std::vector<double> sigmas;
    for (index_t i = 0; i <= count; ++i) {
      const double lambda =
          -std::log(9.0) + 2 * std::log(9.0) * static_cast<double>(i) / static_cast<double>(count);
      sigmas.push_back(1 / (1 + std::exp(lambda)));
    }
    const auto steps = tempflow::make_chain(sigmas, tempflow::ode{});
    forest plan(steps);
    index_t at = plan.start(1);
    for (index_t i = 0; i < count; ++i) at = plan.ode(at, i + 1, solver);
    plan.finish(at);
    const std::vector<index_t> one{0};
    const auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, one, plan, key);
    tempflow::batch_buffer<double> x(1, 1);
    tempflow::fill_noise(tempflow::cpu_backend(1),
                         tempflow::noise_source(key, noise_id{.step = tempflow::initial_noise_step}),
                         x.view());
    const auto spread = [](double s) { return std::sqrt(s * s + (1 - s) * (1 - s) * c * c); };
    return std::abs(rollout.trunk_samples().row(0)[0] / x.view().row(0)[0] -
                    spread(sigmas.back()) / spread(sigmas[0]));
  };
  for (const index_t count : {32, 64, 128}) {
    INFO(count << " steps");
    CHECK(error(count, ode_solver::one_step) / error(2 * count, ode_solver::one_step) ==
          Approx(2).margin(0.25));
    CHECK(error(count, ode_solver::dpm_solver_2m) / error(2 * count, ode_solver::dpm_solver_2m) ==
          Approx(4).margin(0.6));
  }
  CHECK(error(32, ode_solver::dpm_solver_2m) < error(32, ode_solver::one_step) / 4);
}

TEST_CASE("branches completed by steps of second order do not depend on chunks", "[forest]") {
  branch_plan plan{.seeds_per_prompt = 2, .explorations = 3, .completion_solver = ode_solver::dpm_solver_2m};
  const auto expected = roll(plan, six_steps());
  plan.max_batch = 7;
  const auto chunked = roll(plan, six_steps());
  CHECK(support::same_bits(chunked.samples(), expected.samples()));
  // A branch's first step has nothing to look back to; behind it there is one at most two steps before the end.
  const auto euler = roll(branch_plan{.seeds_per_prompt = 2, .explorations = 3}, six_steps());
  int same = 0;
  for (index_t i = 0; i < expected.samples().rows(); ++i) same += same_sample(expected, i, euler, i) ? 1 : 0;
  CHECK(same == 2 * 2 * 2 * 3);  // of steps 3 and 4, whose completions have at most two steps
}
