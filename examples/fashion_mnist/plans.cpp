// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "plans.hpp"

#include <algorithm>
#include <set>
#include <sstream>
#include <string>

namespace fashion {

namespace tf = tempflow;

namespace {

/// "2,2,1" for branches of step 0, of step 1, and of all that follow.
std::vector<tf::index_t> completion_steps(const std::string& text,
                                          const std::vector<tf::index_t>& branching) {
  if (text == "full") return {0};
  std::vector<tf::index_t> by_step, steps;
  std::istringstream numbers(text);
  for (std::string number; std::getline(numbers, number, ',');) by_step.push_back(std::stoi(number));
  for (const tf::index_t step : branching) {
    const auto last = static_cast<tf::index_t>(by_step.size()) - 1;
    steps.push_back(by_step[static_cast<std::size_t>(std::min(step, last))]);
  }
  return steps;
}

}  // namespace

tf::forest branches(const update_setup& update) {
  return tf::branch_plan{.seeds_per_prompt = update.set.seeds,
                         .explorations = update.set.explorations,
                         .branch_steps = update.trained,
                         .completion_steps = completion_steps(update.set.completion, update.trained),
                         .antithetic = update.set.antithetic,
                         .shared_noise = update.set.shared_noise}
      .on(update.steps);
}

tf::forest trajectories(const update_setup& update) {
  return tf::flow_plan{.samples_per_prompt = update.samples_per_prompt(),
                       .trained_steps = update.trained,
                       .shared_noise = update.set.shared_noise,
                       .antithetic = update.set.antithetic}
      .on(update.steps);
}

tf::forest split_at_window(const update_setup& update) {
  return tf::tree_plan{.trees_per_prompt = update.set.seeds,
                       .children = update.set.explorations,
                       .split_steps = {update.trained.front()},
                       .trained_steps = update.trained,
                       .antithetic = update.set.antithetic}
      .on(update.steps);
}

tf::forest short_tails(const update_setup& update) {
  const tf::index_t last = update.steps.steps(), behind = last - 1 - update.trained.back();
  tf::forest plan(update.steps);
  plan.antithetic = update.set.antithetic;
  tf::index_t at = plan.start(update.set.shared_noise ? 1 : update.samples_per_prompt());
  for (tf::index_t i = 0; i < update.trained.front(); ++i) at = plan.ode(at, i + 1);
  at = plan.draw(at, {.children = update.set.shared_noise ? update.samples_per_prompt() : 1});
  for (std::size_t i = 1; i < update.trained.size(); ++i) at = plan.draw(at);
  const auto knots = tf::completion_knots(update.trained.back(), last, std::max<tf::index_t>(behind / 2, 1));
  for (std::size_t i = 1; i < knots.size(); ++i) at = plan.ode(at, knots[i], tf::ode_solver::dpm_solver_2m);
  plan.finish(at);
  return plan;
}

tf::forest trees(const update_setup& update) {
  std::set<tf::index_t> splits;  // two may fall together on a short chain
  for (const tf::index_t i : {0, 3, 6, 9}) splits.insert((i * update.steps.steps() + 8) / 16);
  return tf::tree_plan{.trees_per_prompt = update.set.seeds,
                       .children = update.set.explorations,
                       .split_steps = {splits.begin(), splits.end()},
                       .trained_steps = update.trained,
                       .antithetic = update.set.antithetic}
      .on(update.steps);
}

tf::forest ode_samples(const update_setup& update) {
  tf::forest plan(update.steps);
  tf::index_t at = plan.start(update.samples_per_prompt());
  for (tf::index_t i = 0; i < update.steps.steps(); ++i) at = plan.ode(at, i + 1);
  plan.finish(at);
  return plan;
}

void trajectories_of(options& o, int updates, double learning_rate, double kl_beta) {
  o.antithetic = false;
  o.updates = updates, o.learning_rate = learning_rate, o.kl_beta = kl_beta;
}

void sliding(options& o) {
  trajectories_of(o, 60, 3e-3, 0.6);
  o.weights = "uniform", o.shared_noise = true, o.optimizer_steps = 1;
  o.window = 4, o.window_updates = 10;
}

void finished_samples(options& o, int updates, double learning_rate, double kl_beta) {
  trajectories_of(o, updates, learning_rate, kl_beta);
  o.weights = "uniform";
}

}  // namespace fashion
