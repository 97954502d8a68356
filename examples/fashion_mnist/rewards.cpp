// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "rewards.hpp"

#include "pictures.hpp"

namespace fashion {

namespace tf = tempflow;

reward_function make_reward(const tf::cpu_backend& cpu, const options& settings, const classifier& network) {
  if (settings.reward == "jpeg") {
    return [cpu, quality = settings.jpeg_quality](const matrix& images, std::span<const tf::index_t>) {
      std::vector<double> rewards(static_cast<std::size_t>(images.rows()));
      cpu.for_each_index(images.rows(), [&](tf::index_t i) {
        rewards[static_cast<std::size_t>(i)] = -jpeg_kilobytes(elements(images.row(i)), quality);
      });
      return rewards;
    };
  }
  return [cpu, &network](const matrix& images, std::span<const tf::index_t> prompts) {
    const auto probabilities = network(cpu, images).probabilities;
    std::vector<double> rewards;
    for (Eigen::Index i = 0; i < images.rows(); ++i)
      rewards.push_back(static_cast<double>(probabilities(i, prompts[static_cast<std::size_t>(i)])));
    return rewards;
  };
}

}  // namespace fashion
