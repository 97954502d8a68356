// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// A model that returns a number that is not finite: the rollout says at which step, for which prompt, seed and branch.

#include <limits>
#include <vector>

#include "support/models.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::check_throws;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::branch_plan;
using tempflow::float16;
using tempflow::flow_plan;
using tempflow::index_t;
using tempflow::value_error;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
const std::vector<index_t> prompts{7, 3};
const tempflow::chain steps = tempflow::make_chain({1, 0.75, 0.5, 0.25, 0}, tempflow::flow_sde{0.7});

// A row model whose given evaluation (counted over all calls) has one element that is not finite.
template <class T>
class broken_model {
 public:
  using value_type = T;

  broken_model(index_t dimension, index_t evaluation, index_t element, float value)
      : model_(dimension), evaluation_(evaluation), element_(element), value_(value) {}

  index_t dimension() const { return model_.dimension(); }

  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> of_rows,
                batch_view<T> v) {
    const index_t before = model_.evaluations;
    model_.velocity(x, sigma, of_rows, v);
    const index_t row = evaluation_ - before;
    if (row >= 0 && row < v.rows()) v.row(row)[element_] = tempflow::store<T>(value_);
  }

  index_t calls() const { return model_.calls; }

 private:
  support::row_model<T> model_;
  index_t evaluation_, element_;
  float value_;
};

// Two seeds of each prompt, three branches of each at steps 0 to 2.
const branch_plan branches{.seeds_per_prompt = 2, .explorations = 3};

template <class T, class B, class Plan>
void names(const B& backend, const Plan& plan, index_t evaluation, float value,
           const std::vector<std::string>& texts, index_t calls) {
  for (const index_t dimension : {1, 5, 3000}) {
    broken_model<T> model(dimension, evaluation, dimension - 1, value);
    auto expected = texts;
    expected.push_back("v[" + std::to_string(dimension - 1) + "]");
    check_throws<value_error>([&] { tempflow::roll_out(backend, model, prompts, steps, plan, {.seed = 4}); },
                              expected);
    CHECK(model.calls() == calls);  // and asks the model for no more
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a velocity that is not finite is named by step, prompt, seed and branch", "[bad_input]",
                   float, double, bfloat16, float16) {
  const tempflow::cpu_backend cpu(2);
  // Step 0: the 4 trunks, two seeds of prompt 7 first.
  names<TestType>(cpu, branches, 2, not_a_number,
                  {"step 0 (sigma = 1)", "prompt 3, seed 0, which has not branched", "nan"}, 1);
  // Step 2: trunks are evaluations 4 + (4 + 12) on; the branches of step 0, then those of step 1, in some order.
  names<TestType>(cpu, branches, 20, infinity, {"step 2 (sigma = 0.5)", "prompt 7, seed 0", "inf"}, 3);
  // Whole trajectories: two of each prompt, so evaluation 4 + 3 is step 1, prompt 3, seed 1.
  names<TestType>(cpu, flow_plan{.samples_per_prompt = 2}, 7, -infinity,
                  {"step 1 (sigma = 0.75)", "prompt 3, seed 1, branch 0 of step 0", "-inf"}, 2);
  names<TestType>(tempflow::reference_backend{}, flow_plan{.samples_per_prompt = 2}, 7, not_a_number,
                  {"step 1 (sigma = 0.75)", "prompt 3, seed 1"}, 2);
}

TEST_CASE("each branch is named as its sample's identity names it", "[bad_input]") {
  const tempflow::cpu_backend cpu(1);
  const branch_plan one_step{.seeds_per_prompt = 2, .explorations = 3, .branch_steps = {1}};
  support::row_model<float> sound(5);
  const auto rollout = tempflow::roll_out(cpu, sound, prompts, steps, one_step, {.seed = 4});
  // 4 trunks at steps 0 and 1, then 12 branches at step 2, in the order of the samples.
  for (index_t i = 0; i < 12; ++i) {
    const auto& who = rollout.identities()[static_cast<std::size_t>(i)];
    broken_model<float> model(5, 8 + i, 0, not_a_number);
    auto chunked = one_step;
    chunked.max_batch = 1 + i;
    check_throws<value_error>([&] { tempflow::roll_out(cpu, model, prompts, steps, chunked, {.seed = 4}); },
                              {"step 2 (sigma = 0.5)", "prompt " + std::to_string(who.prompt) + ", seed " +
                                                           std::to_string(who.seed) + ", branch " +
                                                           std::to_string(who.branch) + " of step 1"});
  }
}

TEST_CASE("a state that has left its storage type is named beside the velocity that it led to",
          "[bad_input]") {
  // x + 2 * 60000 leaves fp16, whose largest number is 65504, behind step 0.
  auto model = tempflow::flow_model<float16>(
      1, [](auto x, std::span<const double> sigma, auto, batch_view<float16> v) {
        for (index_t i = 0; i < x.rows(); ++i)
          v.row(i)[0] = sigma[0] == 1 ? tempflow::store<float16>(60000.0f) : x.row(i)[0];
      });
  const auto far = [](const tempflow::sigma_step&) { return tempflow::transition{.alpha = 1, .beta = 2}; };
  tempflow::forest plan(tempflow::make_chain({1, 0.75, 0.5}, far));
  plan.finish(plan.ode(plan.ode(plan.start(1), 1), 2));
  check_throws<value_error>([&] { tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, plan, {}); },
                            {"step 1 (sigma = 0.75)", "v[0] = inf x[0] = inf"});
}

TEST_CASE("without the check numbers that are not finite go on into the samples", "[bad_input]") {
  auto plan = branches;
  plan.check_velocities = false;
  broken_model<float> model(5, 0, 2, not_a_number);
  const auto rollout = tempflow::roll_out(tempflow::cpu_backend(1), model, prompts, steps, plan, {.seed = 4});
  for (index_t i = 0; i < rollout.samples().rows(); ++i) {
    const auto& who = rollout.identities()[static_cast<std::size_t>(i)];
    const bool expected = !(who.prompt == 7 && who.seed == 0);  // all that comes from the first trunk
    bool finite = true;
    for (index_t e = 0; e < 5; ++e) finite = finite && tempflow::is_finite(rollout.samples().row(i)[e]);
    CHECK(finite == expected);
  }
}

TEST_CASE("checked velocities change no bit, and cost a number for each evaluation", "[plan]") {
  support::row_model<float> model(37);
  auto unchecked = branches;
  unchecked.check_velocities = false;
  const tempflow::cpu_backend cpu(1);
  const auto a = tempflow::roll_out(cpu, model, prompts, steps, branches, {.seed = 4});
  const auto b = tempflow::roll_out(cpu, model, prompts, steps, unchecked, {.seed = 4});
  CHECK(support::same_bits(a.samples(), b.samples()));
  CHECK(support::same_bits(a.log_probs(), b.log_probs()));
  const auto with = branches.cost(steps, 2, 37), without = unchecked.cost(steps, 2, 37);
  CHECK(with.bytes == without.bytes);
  CHECK(with.working_bytes - without.working_bytes == 8 * with.model_evaluations);
}
