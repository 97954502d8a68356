// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What docs/images/draw.py draws, as JSON: a small forest, node by node; the rows that the model saw in each call of its
// rollout; and a batch of states with the transitions that leave them.

#include <cstdio>
#include <string>
#include <tempflow/tempflow.hpp>
#include <vector>

namespace tf = tempflow;

static std::string list(const auto& numbers) {
  std::string text;
  for (const auto number : numbers) text += (text.empty() ? "[" : ", ") + std::to_string(number);
  return text.empty() ? "[]" : text + "]";
}

int main() {
  const auto chain = tf::make_chain(tf::sd3_sigmas(5), tf::flow_sde{.noise_level = 0.7});
  const tf::branch_plan plan{.seeds_per_prompt = 1, .explorations = 3};
  const tf::forest forest = plan.on(chain);
  const tf::rollout_cost cost = plan.cost(chain, 1);

  std::string nodes;
  for (const tf::forest_node& node : forest.nodes()) {
    const char* const moves[] = {"start", "ode", "draw"};
    nodes += std::string(nodes.empty() ? "" : ",") + "\n  {\"move\": \"" + moves[int(node.move)] +
             "\", \"parent\": " + std::to_string(node.parent) + ", \"knot\": " + std::to_string(node.knot) +
             ", \"states\": " + std::to_string(node.states) +
             ", \"finished\": " + (node.finished ? "true" : "false") + "}";
  }

  std::vector<double> call_sigmas;
  std::vector<tf::index_t> call_rows;
  auto model = tf::flow_model<float>(4, [&](auto x, auto sigma, auto, auto v) {
    call_sigmas.push_back(sigma[0]), call_rows.push_back(x.rows());
    for (tf::index_t i = 0; i < x.rows(); ++i)
      for (tf::index_t e = 0; e < 4; ++e) v.row(i)[e] = x.row(i)[e];
  });
  const tf::index_t prompts[] = {0};
  auto rollout = tf::roll_out(tf::cpu_backend{1}, model, prompts, forest, {.seed = 1});

  std::vector<tf::index_t> batch_steps, offsets;
  for (const auto& batch : tf::minibatches(rollout, std::vector<double>(std::size_t(cost.samples), 1.0),
                                           tf::uniform_weights(chain))) {
    for (const tf::index_t state : batch.rows) batch_steps.push_back(rollout.row(state).step);
    offsets.assign(batch.offsets.begin(), batch.offsets.end());
  }

  std::printf("{\"nodes\": [%s],\n\"sigmas\": %s,\n", nodes.c_str(), list(chain.sigmas()).c_str());
  std::printf("\"calls\": {\"sigmas\": %s, \"rows\": %s},\n", list(call_sigmas).c_str(),
              list(call_rows).c_str());
  std::printf("\"batch\": {\"offsets\": %s, \"row_steps\": %s},\n", list(offsets).c_str(),
              list(batch_steps).c_str());
  std::printf(
      "\"cost\": {\"evaluations\": %d, \"calls\": %d, \"sequential_calls\": %d, \"states\": %d, \"rows\": "
      "%d}}\n",
      int(cost.model_evaluations), int(cost.model_calls), int(cost.sequential_calls),
      int(cost.trained_states), int(cost.trained_rows));
}
