// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "evaluation.hpp"

#include <numeric>
#include <tempflow/interop/eigen.hpp>

#include "pictures.hpp"
#include "policy.hpp"

namespace fashion {

namespace tf = tempflow;

namespace {

/// 0, ..., 0, 1, ..., 1, 2, ...: each prompt `count` times.
std::vector<tf::index_t> repeated_prompts(tf::index_t count) {
  std::vector<tf::index_t> prompts;
  for (tf::index_t i = 0; i < classes * count; ++i) prompts.push_back(i / count);
  return prompts;
}

}  // namespace

evaluator::evaluator(const tf::cpu_backend& cpu, const options& settings, const pretrained& start,
                     const dataset& data, const reward_function& reward)
    : cpu_{cpu},
      settings_{settings},
      start_{start},
      test_{data.test},
      reward_{reward},
      test_features_{fit_features(start.judge(cpu, data.test.images).features)} {}

matrix evaluator::sample(const vector& weights, tf::index_t count) const {
  const auto chain = tf::make_chain(tf::shifted_linspace_sigmas(settings_.steps, settings_.shift), tf::ode{});
  const auto prompts = repeated_prompts(count);
  std::vector<tf::noise_id> ids;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    ids.push_back({.prompt = static_cast<std::uint32_t>(prompts[i]),
                   .seed = static_cast<std::uint32_t>(static_cast<tf::index_t>(i) % count),
                   .step = tf::initial_noise_step});
  const auto rows = static_cast<tf::index_t>(prompts.size());
  matrix x(rows, settings_.latents), v(rows, settings_.latents);
  const auto states = tf::batch_view_of(x), velocities = tf::batch_view_of(v);
  tf::fill_noise(cpu_, {tempflow::noise_key{.seed = settings_.seed, .update = evaluation_noise}, ids},
                 states);
  policy model(cpu_, start_.network, weights);
  for (tf::index_t i = 0; i < chain.steps(); ++i) {
    const std::vector<double> sigma(prompts.size(), chain[i].sigma);
    model.velocity(states, sigma, prompts, velocities);
    tf::ode_step(cpu_, states, velocities, chain[i], states);
  }
  return start_.codec.decode(cpu_, x);
}

evaluation evaluator::score(const matrix& images, std::span<const tf::index_t> prompts) const {
  const auto rewards = reward_(images, prompts);
  return {
      .reward = std::accumulate(rewards.begin(), rewards.end(), 0.0) / static_cast<double>(rewards.size()),
      .judge = start_.judge.accuracy(cpu_, images, prompts),
      .diversity = diversity(images, prompts),
      .frechet = frechet_distance(fit_features(start_.judge(cpu_, images).features), test_features_)};
}

evaluation evaluator::evaluate(const vector& weights) const {
  const tf::index_t count = settings_.evaluation_samples;
  return score(sample(weights, count), repeated_prompts(count));
}

evaluation evaluator::test_images() const { return score(test_.images, test_.labels); }

void evaluator::draw(const vector& weights, const std::filesystem::path& path) const {
  constexpr int columns = 12;
  write_grid(path, sample(weights, columns), columns);
}

}  // namespace fashion
