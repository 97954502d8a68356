// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Hashes what each operation, schedule, rollout and advantage computes from fixed inputs, for each storage type. Without an
// argument it prints them; with the name of a file of hashes it compares: a machine has the bits of another if the files agree.

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <tempflow/compiled.hpp>
#include <vector>

#include "support/all_operations.hpp"

namespace tf = tempflow;

namespace {

/// FNV-1a, 64 bits.
class fingerprint {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) hash_ = (hash_ ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3u;
  }
  template <class T>
  void add(const std::vector<T>& values) {
    add(std::as_bytes(std::span(values)));
  }
  template <class T>
  void add(tf::batch_view<T> rows) {
    for (tf::index_t i = 0; i < rows.rows(); ++i) {
      add(std::as_bytes(std::span(rows.row(i), static_cast<std::size_t>(rows.columns()))));
    }
  }
  template <class T>
  void add(const tf::batch_buffer<T>& rows) {
    add(rows.view());
  }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

/// A line for each result: storage type, what it is, hash.
std::vector<std::string> lines;

void record(std::string_view types, std::string_view of, const auto&... results) {
  fingerprint hash;
  (hash.add(results), ...);
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016" PRIx64, hash.value());
  std::string line(types);
  lines.push_back(line.append(" ").append(of).append(" ").append(digits));
}

std::vector<double> numbers_of(const std::vector<tf::policy_row>& rows) {
  std::vector<double> all;
  for (const auto& row : rows)
    all.insert(all.end(), {row.log_prob, row.log_ratio, row.ratio, row.surrogate, row.kl});
  return all;
}

std::vector<double> numbers_of(const std::vector<tf::transition>& steps) {
  std::vector<double> all;
  for (const auto& step : steps) all.insert(all.end(), {step.alpha, step.beta, step.std});
  return all;
}

/// A velocity whose text leaves a compiler no choice.
template <class T>
struct mixing_model {
  using value_type = T;
  tf::index_t dimension() const { return 1025; }
  void velocity(tf::batch_view<const T> x, std::span<const double> sigma,
                std::span<const tf::index_t> prompts, tf::batch_view<T> v) const {
    for (tf::index_t i = 0; i < x.rows(); ++i) {
      const auto row = static_cast<std::size_t>(i);
      for (tf::index_t e = 0; e < x.columns(); ++e) {
        const double here = support::value_of(x.row(i)[e]),
                     next = support::value_of(x.row(i)[(e + 1) % x.columns()]);
        const double mixed = tf::fused_multiply_add(0.5 * sigma[row], here, -0.25 * next);
        v.row(i)[e] = tf::store<T>(static_cast<float>(mixed + 0.125 * static_cast<double>(prompts[row])));
      }
    }
  }
};

template <class T, class V = T>
void record_operations(std::string_view types) {
  const tf::cpu_backend cpu(2);
  const auto out = support::operation_inputs<T, V>{}.compute(cpu);
  record(types, "fill_noise", out.noise);
  record(types, "ode_step", out.mean);
  record(types, "step", out.y, out.log_probs);
  record(types, "branch_step", out.trunk, out.branches, out.branch_log_probs);
  record(types, "log_prob", out.scored);
  record(types, "guide", out.guided, out.kept);
  record(types, "guide_gradient", out.of_conditional, out.of_unconditional);
  record(types, "policy_loss", out.gradient, numbers_of(out.policy));
}

template <class T>
void record_update(std::string_view types) {
  const tf::cpu_backend cpu(2);
  mixing_model<T> model;
  const auto chain = tf::make_chain(tf::sd3_sigmas(6), tf::flow_sde{0.7});
  const std::vector<tf::index_t> prompts{3, 1};
  const tf::branch_plan plan{.seeds_per_prompt = 2, .explorations = 4};
  auto rollout = tf::roll_out(cpu, model, prompts, chain, plan, {.seed = 5, .update = 2});
  record(types, "roll_out", rollout.samples(), rollout.states(),
         std::vector<double>(rollout.log_probs().begin(), rollout.log_probs().end()));
  std::vector<double> rewards;
  for (tf::index_t i = 0; i < rollout.samples().rows(); ++i)
    rewards.push_back(support::value_of(rollout.samples().row(i)[0]));
  const auto advantages = tf::group_advantages(rewards, rollout.seed_groups());
  const auto weights = tf::noise_aware_weights(chain, rollout.trained_steps());
  record(types, "group_advantages", advantages.values);
  record(types, "noise_aware_weights", weights);
  for (const auto& batch : tf::minibatches(rollout, advantages, weights, {.size = 1000})) {
    tf::batch_buffer<T> v(batch.x.rows(), batch.x.columns()), gradient(batch.x.rows(), batch.x.columns());
    model.velocity(batch.x, batch.sigma, batch.prompts, v);
    std::vector<tf::policy_row> rows(batch.rows.size());
    tf::policy_loss(cpu, batch, v, {}, tf::clipped_grpo{}, gradient, std::span(rows));
    record(types, "update", gradient, numbers_of(rows));
  }
}

void record_schedules() {
  record("double", "sigmas", tf::sd3_sigmas(28), tf::flux_sigmas(28), tf::flux_2_sigmas(28),
         tf::qwen_image_sigmas(28), tf::ltx_sigmas(28), tf::wan_sigmas(28), tf::shifted_linspace_sigmas(28),
         tf::hunyuan_video_sigmas(28));
  record("double", "transitions", numbers_of(support::stochastic_transitions()));
}

}  // namespace

int main(int argc, char** argv) {
  record_schedules();
  record_operations<float>("float");
  record_operations<double>("double");
  record_operations<tf::bfloat16>("bfloat16");
  record_operations<tf::float16>("float16");
  record_update<float>("float");
  record_update<double>("double");
  record_update<tf::bfloat16>("bfloat16");
  record_update<tf::float16>("float16");
  if (argc == 1) {
    for (const auto& line : lines) std::puts(line.c_str());
    return 0;
  }
  std::ifstream expected(argv[1]);
  bool same = true;
  for (std::string line; const auto& found : lines) {
    std::getline(expected, line);
    if (line == found) continue;
    std::printf("expected %s\nfound    %s\n", line.c_str(), found.c_str());
    same = false;
  }
  for (std::string line; std::getline(expected, line);) {
    std::printf("expected %s\nfound    nothing\n", line.c_str());
    same = false;
  }
  return same ? 0 : 1;
}
