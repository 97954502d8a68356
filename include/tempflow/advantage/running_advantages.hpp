// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Advantages over what a prompt's rewards have been, for batches that hold few of a prompt's samples:
//
//   A_i = (R_i - mean_p R) / (std_p R + eps)     over the rewards of the prompt p so far, those of the batch included
//
// Source: DDPO, arXiv 2305.13301, ddpo_pytorch/stat_tracking.py; TRL, DDPOTrainer.

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "tempflow/advantage/group_advantages.hpp"
#include "tempflow/core/error.hpp"
#include "tempflow/core/running_moments.hpp"

namespace tempflow {

/// How earlier rewards count. The defaults are TRL's.
struct running_options {
  index_t window = 32;   ///< the last rewards of a prompt count, so many; 0: all of them
  index_t warm_up = 16;  ///< rewards of a prompt, below which its statistics are those of the batch
  std_estimate std = std_estimate::population;
  double epsilon = 1e-6;
  epsilon_rule epsilon_as = epsilon_rule::add;
  not_finite_rewards not_finite = not_finite_rewards::refuse;
};

/// What running_advantages knows, as plain numbers to store.
struct running_state {
  index_t window = 0;                      ///< running_options::window
  std::vector<std::int64_t> prompts = {};  ///< ascending
  std::vector<index_t> counts = {};        ///< of each, the rewards that count
  /// With a window the rewards themselves, prompt after prompt, oldest first; without, mean and sum of squares about
  /// it of each.
  std::vector<double> numbers = {};
};

/// Advantages relative to each prompt's rewards in this batch and before. Processes that share prompts gather their
/// rewards first and all take up the same batch.
class running_advantages {
 public:
  /// Throws value_error for a negative window, a warm-up below 1 or above the window, or an epsilon that is negative
  /// or not finite.
  explicit running_advantages(const running_options& options = {}) : options_(options) {
    if (options.window < 0 || options.warm_up < 1 ||
        (options.window > 0 && options.warm_up > options.window)) {
      throw value_error(detail::message("running_advantages: window = ", options.window, ", warm_up = ",
                                        options.warm_up, ": must be 0 or more, and 1 up to the window"));
    }
    detail::check_advantage_options(scaling());
  }

  /// Goes on from a state. Throws value_error, too, for one of another window, or that no tracker gives.
  running_advantages(const running_options& options, const running_state& state)
      : running_advantages(options) {
    if (state.window != options.window) {
      throw value_error(detail::message("running_advantages: the state is of window = ", state.window,
                                        ", the options have ", options.window));
    }
    const bool keeps = options.window > 0;
    std::size_t at = 0;
    const auto refuse = [&](std::size_t i, const char* why) {
      throw value_error(detail::message("running_advantages: state, prompt ", i, " of ", state.prompts.size(),
                                        ", with ", state.counts.size(), " counts and ", state.numbers.size(),
                                        " numbers: ", why));
    };
    for (std::size_t i = 0; i < state.prompts.size(); ++i) {
      if (i >= state.counts.size()) refuse(i, "has no count");
      const index_t count = state.counts[i];
      if (count < 1 || (keeps && count > options.window)) refuse(i, "has a count outside the window");
      if (i > 0 && state.prompts[i] <= state.prompts[i - 1]) refuse(i, "does not ascend");
      const std::size_t size = keeps ? static_cast<std::size_t>(count) : 2;
      if (state.numbers.size() - at < size) refuse(i, "lacks numbers");
      const auto own = std::span(state.numbers).subspan(at, size);
      for (const double number : own) {
        if (!is_finite(number)) refuse(i, "has a number that is not finite");
      }
      if (!keeps && own[1] < 0) refuse(i, "has a negative sum of squares");
      known& prompt = prompts_[state.prompts[i]];
      if (keeps) {
        prompt.rewards.assign(own.begin(), own.end());
      } else {
        prompt.all = {.count = count, .mean = own[0], .squares = own[1]};
      }
      at += size;
    }
    if (state.counts.size() != state.prompts.size() || at != state.numbers.size()) {
      refuse(state.prompts.size(), "more counts or numbers than prompts");
    }
  }

  /// Takes up the rewards of a batch and gives their advantages.
  ///
  /// rewards, prompts: one entry per sample. A prompt whose rewards so far are all equal gets 0. Of the result's
  /// statistics, samples, sizes and the moments of rewards are the batch's; the stds are those divided by.
  ///
  /// Throws shape_error for sizes that differ; group_error for no samples, or none with a finite reward; value_error
  /// for a reward that is not finite unless these are excluded, and for rewards whose std overflows. Nothing is taken
  /// up then.
  advantage_set take_up(std::span<const double> rewards, std::span<const std::int64_t> prompts) {
    detail::check_per_reward("running_advantages", "prompts", prompts.size(), rewards.size());
    if (rewards.empty()) throw group_error("running_advantages: no samples");
    detail::check_rewards("running_advantages", rewards, prompts, options_.not_finite);
    std::vector<std::pair<std::int64_t, known>> met;
    advantage_set result;
    result.values.resize(rewards.size());
    std::vector<index_t> scratch(rewards.size());
    const advantage_options options = scaling();
    const auto batch = detail::moments(
        rewards.size(), [&](std::size_t i) { return rewards[i]; }, options);
    const auto with_the_past = [&](std::int64_t prompt, std::size_t count, const auto& reward) {
      const auto before = prompts_.find(prompt);
      met.emplace_back(prompt, before == prompts_.end() ? known() : before->second);
      const auto own = moments_with(met.back().second, count, reward, options);
      return met.back().second.count() < options_.warm_up ? batch : own;
    };
    result.statistics = detail::write_group_advantages(rewards, prompts, options, result.values, scratch,
                                                       detail::lone_samples::zero, with_the_past);
    if (result.statistics.excluded == result.statistics.samples) {
      throw group_error(
          detail::message("running_advantages: none of the ", rewards.size(), " rewards is finite"));
    }
    if (result.statistics.excluded > 0) result.excluded = detail::excluded_places(rewards);
    for (auto& [prompt, now] : met) {
      if (now.count() > 0) prompts_.insert_or_assign(prompt, std::move(now));
    }
    return result;
  }

  /// What is known, to go on from later.
  running_state state() const {
    running_state state{.window = options_.window};
    for (const auto& [prompt, now] : prompts_) {
      state.prompts.push_back(prompt);
      state.counts.push_back(now.count());
      if (options_.window > 0) {
        state.numbers.insert(state.numbers.end(), now.rewards.begin(), now.rewards.end());
      } else {
        state.numbers.insert(state.numbers.end(), {now.all.mean, now.all.squares});
      }
    }
    return state;
  }

 private:
  /// Of a prompt: the rewards of its window, or the moments of all.
  struct known {
    std::vector<double> rewards = {};
    running_moments all = {};

    index_t count() const { return rewards.empty() ? all.count : static_cast<index_t>(rewards.size()); }
  };

  advantage_options scaling() const {
    return {.std = options_.std,
            .epsilon = options_.epsilon,
            .epsilon_as = options_.epsilon_as,
            .not_finite = options_.not_finite};
  }

  /// The moments of a prompt's rewards, a batch's among them from now on.
  template <class Reward>
  detail::reward_moments moments_with(known& prompt, std::size_t count, const Reward& reward,
                                      const advantage_options& options) const {
    detail::reward_moments found;
    if (options_.window > 0) {
      for (std::size_t i = 0; i < count; ++i) {
        if (is_finite(reward(i))) prompt.rewards.push_back(reward(i));
      }
      const auto window = static_cast<std::size_t>(options_.window);
      const std::size_t past = prompt.rewards.size() > window ? prompt.rewards.size() - window : 0;
      prompt.rewards.erase(prompt.rewards.begin(),
                           prompt.rewards.begin() + static_cast<std::ptrdiff_t>(past));
      found = detail::moments(
          prompt.rewards.size(), [&](std::size_t i) { return prompt.rewards[i]; }, options);
    } else {
      const auto now = detail::moments(count, reward, options);
      const auto n = static_cast<double>(now.count);
      const double divisor = options.std == std_estimate::sample ? n - 1 : n;
      prompt.all += {.count = static_cast<index_t>(now.count),
                     .mean = now.mean,
                     .squares = now.constant ? 0 : now.std * now.std * divisor};
      found = {.count = static_cast<std::size_t>(prompt.all.count),
               .mean = prompt.all.mean,
               .std = prompt.all.std(options.std == std_estimate::sample ? 1 : 0),
               .constant = prompt.all.squares == 0};
    }
    if (!is_finite(found.mean) || !is_finite(found.std)) {
      throw value_error(detail::message("running_advantages: rewards are too far apart, their mean is ",
                                        found.mean, " and their std ", found.std));
    }
    return found;
  }

  running_options options_;
  std::map<std::int64_t, known> prompts_;
};

}  // namespace tempflow
