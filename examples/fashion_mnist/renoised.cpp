// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "renoised.hpp"

#include <algorithm>
#include <memory>

namespace fashion {

namespace tf = tempflow;

namespace {

/// A sample at one level.
struct place {
  tf::index_t sample, level, seed;
};

/// What a batch shows.
struct storage {
  tf::batch_buffer<float> x, y;
  std::vector<tf::transition> transitions;
  std::vector<double> advantages, sigma;
  std::vector<tf::index_t> prompts;
  std::vector<tf::noise_id> noise;

  storage(tf::index_t rows, tf::index_t columns) : x(rows, columns), y(rows, columns) {}
};

tf::minibatch<float> make_batch(const tf::cpu_backend& cpu, const renoised_samples& from,
                                std::span<const place> places) {
  const auto at = [](tf::index_t i) { return static_cast<std::size_t>(i); };
  const auto rows = static_cast<tf::index_t>(places.size()), columns = from.x0.columns();
  const auto kept = std::make_shared<storage>(rows, columns);
  for (const auto& [sample, level, seed] : places) {
    const tf::index_t prompt = from.prompts[at(sample)];
    kept->sigma.push_back(from.levels[at(level)]);
    kept->transitions.push_back(tf::clean_transition(kept->sigma.back()));
    kept->advantages.push_back(from.advantages[at(sample)]);
    kept->prompts.push_back(prompt);
    kept->noise.push_back({.prompt = static_cast<std::uint32_t>(prompt),
                           .seed = static_cast<std::uint32_t>(seed),
                           .step = static_cast<std::uint16_t>(level)});
  }
  for (tf::index_t i = 0; i < rows; ++i)
    std::copy_n(from.x0.row(places[at(i)].sample), columns, kept->y.view().row(i));
  // From the data to level t: x_t = (1 - t) x0 + 0 v + t z.
  std::vector<tf::transition> noising;
  for (const double t : kept->sigma) noising.push_back({.alpha = 1 - t, .beta = 0, .std = t});
  tf::step(cpu, kept->y.view(), kept->y.view(), noising, {from.key, kept->noise}, kept->x, {});
  tf::minibatch<float> batch;
  batch.x = kept->x.view();
  batch.y = kept->y.view();
  batch.transitions = kept->transitions;
  batch.advantages = kept->advantages;
  batch.convention = {tf::log_prob_reduction::mean, tf::log_prob_terms::squared_error};
  batch.sigma = kept->sigma;
  batch.prompts = kept->prompts;
  batch.storage = kept;
  return batch;
}

}  // namespace

std::vector<tf::minibatch<float>> renoised_batches(const tf::cpu_backend& cpu, const renoised_samples& from,
                                                   const tf::minibatch_options& options) {
  const auto levels = static_cast<tf::index_t>(from.levels.size());
  const tf::index_t each = std::min(from.levels_per_sample, levels);
  std::vector<std::vector<place>> steps(static_cast<std::size_t>(options.updates));
  tf::index_t seed = 0;  // of a prompt's samples
  for (tf::index_t i = 0; i < from.x0.rows(); ++i, ++seed) {
    const auto at = static_cast<std::size_t>(i);
    if (i > 0 && from.prompts[at] != from.prompts[at - 1]) seed = 0;
    const auto first = static_cast<tf::index_t>(
        tf::uniform_choice(from.key, static_cast<std::uint32_t>(i), static_cast<std::uint64_t>(levels)));
    for (tf::index_t k = 0; k < each; ++k)
      steps[static_cast<std::size_t>(seed % options.updates)].push_back(
          {i, (first + k * levels / each) % levels, seed});
  }
  std::vector<tf::minibatch<float>> batches;
  for (const auto& step : steps) {
    const std::span<const place> all(step);
    for (std::size_t first = 0; first < all.size();) {
      const std::size_t count = std::min(all.size() - first, static_cast<std::size_t>(options.size));
      batches.push_back(make_batch(cpu, from, all.subspan(first, count)));
      batches.back().mean_over = static_cast<tf::index_t>(all.size());
      first += count;
      batches.back().completes_update = first == all.size();
    }
  }
  return batches;
}

}  // namespace fashion
