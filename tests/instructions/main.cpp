// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Calls one kernel a number of times on one thread, for count.py to count a call's instructions. The batch is
// small enough for the caches, so that no gradient is streamed past them.

#include <cstdio>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <tempflow/tempflow.hpp>

namespace {

namespace tf = tempflow;

constexpr tf::index_t rows = 4, columns = 16384, explorations = 6;
constexpr tf::noise_key key{.seed = 3};
const tf::clipped_grpo objective{.clip = {1e6, 1e6}, .kl_beta = 0.04};
constexpr tf::transition ode{.alpha = 1, .beta = -0.1};
constexpr tf::transition sde{.alpha = 0.98, .beta = -0.11, .std = 0.2, .dt = 0.1};

/// T: of states. V: of velocities and the gradient.
template <class T, class V = T>
class problem {
 public:
  explicit problem(tf::instruction_set instructions) : backend_(1, instructions) {
    for (std::uint32_t i = 0; auto& id : ids_) id.seed = i++;
    std::uint32_t seed = 10;
    const auto fill = [&](auto& batch) {
      tf::fill_noise(backend_, {tf::noise_key{.seed = seed++}, ids_}, batch.view());
    };
    fill(x_), fill(v_), fill(v_ref_);
    tf::step(backend_, x_.view(), v_, sde, {key, ids_}, y_, log_probs_);
    tf::branch_step(backend_, x_.view(), v_, ode, sde, {key, ids_}, {}, branches_.view(), branch_log_probs_);
    for (tf::index_t i = 0; i <= rows; ++i) offsets_.push_back(i * explorations);
  }

  tf::instruction_set instructions() const { return backend_.instructions(); }

  std::function<void()> kernel(const std::string& name) {
    if (name == "ode_step") return [this] { tf::ode_step(backend_, x_.view(), v_, ode, out_.view()); };
    if (name == "step") {
      return [this] { tf::step(backend_, x_.view(), v_, sde, {key, ids_}, out_.view(), log_probs_); };
    }
    if (name == "branch_step") {
      return [this] {
        tf::branch_step(backend_, x_.view(), v_, ode, sde, {key, ids_}, out_.view(), branches_.view(),
                        branch_log_probs_);
      };
    }
    if (name == "log_prob") return [this] { tf::log_prob(backend_, x_.view(), v_, y_, sde, log_probs_); };
    if (name == "policy_loss_siblings") {
      return [this] {
        const tf::policy_batch<T> batch{.x = x_,
                                        .y = branches_,
                                        .offsets = offsets_,
                                        .transitions = sde,
                                        .old_log_probs = branch_log_probs_,
                                        .advantages = sibling_advantages_};
        tf::policy_loss(backend_, batch, v_, v_ref_, objective, gradient_.view(), std::span(sibling_rows_));
      };
    }
    if (name == "policy_loss_on_policy") return policy_loss(0);
    if (name == "policy_loss_off_policy") return policy_loss(0.01);
    if (name == "fill_noise") return [this] { tf::fill_noise(backend_, {key, ids_}, out_.view()); };
    throw std::invalid_argument("no kernel " + name);
  }

 private:
  /// With the KL. The clip is too wide to bite: off policy no row has its on-policy slope, and each takes two
  /// passes.
  std::function<void()> policy_loss(double log_ratio) {
    old_log_probs_ = log_probs_;
    for (double& old : old_log_probs_) old -= log_ratio;
    return [this] {
      const tf::policy_batch<T> batch{
          .x = x_, .y = y_, .transitions = sde, .old_log_probs = old_log_probs_, .advantages = advantages_};
      tf::policy_loss(backend_, batch, v_, v_ref_, objective, gradient_.view(), std::span(policy_rows_));
    };
  }

  tf::cpu_backend backend_;
  std::vector<tf::noise_id> ids_ = std::vector<tf::noise_id>(rows);
  tf::batch_buffer<T> x_{rows, columns}, y_{rows, columns}, out_{rows, columns},
      branches_{rows * explorations, columns};
  tf::batch_buffer<V> v_{rows, columns}, v_ref_{rows, columns}, gradient_{rows, columns};
  std::vector<double> log_probs_ = std::vector<double>(rows), old_log_probs_,
                      branch_log_probs_ = std::vector<double>(rows * explorations),
                      advantages_{1, -0.5, 0.25, -0.75};
  std::vector<double> sibling_advantages_ = std::vector<double>(rows * explorations, 0.5);
  std::vector<tf::index_t> offsets_;
  std::vector<tf::policy_row> policy_rows_ = std::vector<tf::policy_row>(rows),
                              sibling_rows_ = std::vector<tf::policy_row>(rows * explorations);
};

/// What a count depends on: compiler, its version, the instructions used, elements of the batch.
void describe(tf::instruction_set instructions) {
#if defined(__clang__)
  std::printf("clang++ %d", __clang_major__);
#elif defined(__GNUC__)
  std::printf("g++ %d", __GNUC__);
#endif
  std::printf(" %s %d\n", to_string(instructions), static_cast<int>(rows * columns));
}

template <class T, class V = T>
void run(const std::string& kernel, tf::instruction_set instructions, int calls) {
  problem<T, V> given(instructions);
  const auto once = given.kernel(kernel);
  for (int i = 0; i < calls; ++i) once();
  describe(given.instructions());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    const std::string storage = words.at(1);
    const auto instructions =
        words.at(2) == "portable" ? tf::instruction_set::portable : tf::instruction_set::avx2;
    const auto run_in = storage == "f32"        ? run<float>
                        : storage == "bf16"     ? run<tf::bfloat16>
                        : storage == "f16"      ? run<tf::float16>
                        : storage == "f32+bf16" ? run<float, tf::bfloat16>
                                                : throw std::invalid_argument("no storage " + storage);
    run_in(words.at(0), instructions, std::stoi(words.at(3)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\nusage: %s KERNEL f32|bf16|f16|f32+bf16 portable|avx2 CALLS\n", error.what(),
                 arguments[0]);
    return 2;
  }
}
