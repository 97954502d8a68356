// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The objective of the published implementations in fp64: loss, KL, statistics and the gradient by the
// velocity.

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/golden.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/policy_loss.hpp"
#include "tempflow/schedule/chain.hpp"

using tempflow::index_t;

namespace {

constexpr double tolerance = 1e-10;  // fp64 on both sides; relative to numbers up to 10

bool near(double computed, double expected) {
  return std::abs(computed - expected) <= tolerance * std::max(1.0, std::abs(expected));
}

template <class B>
void check_recorded(const nlohmann::json& recorded, const B& backend) {
  const auto batch = recorded.at("batch").get<index_t>(), dim = recorded.at("dim").get<index_t>();
  const auto read = [&](const char* name) { return support::numbers_of(recorded.at(name)); };
  const auto x = support::batch_of<double>(batch, dim, read("x"));
  const auto y = support::batch_of<double>(batch, dim, read("x_prev"));
  const auto v = support::batch_of<double>(batch, dim, read("v"));
  const auto v_ref = support::batch_of<double>(batch, dim, read("v_ref"));
  const auto old = read("log_prob_old"), advantages = read("advantages");
  const auto steps =
      tempflow::make_chain(read("sigmas"), tempflow::flow_sde{recorded.at("noise_level").get<double>()});
  const auto& step = steps[recorded.at("step").get<index_t>()];

  tempflow::policy_batch<double> transitions{
      .x = x, .y = y, .transitions = step, .old_log_probs = old, .advantages = advantages};
  const auto weight = recorded.at("weight").get<std::string>();
  REQUIRE((weight == "none" || weight == "2.25*std"));
  if (weight == "2.25*std") transitions.weights = 2.25 * step.std;
  const auto kl_std = recorded.at("kl_std").get<std::string>();
  REQUIRE((kl_std == "std_dev_t" || kl_std == "std_dev_t*sqrt(dt)"));
  const double clip = recorded.at("clip_range").get<double>();
  const tempflow::clipped_grpo objective{.clip = {clip, clip},
                                         .advantage_clip = recorded.at("adv_clip_max").get<double>(),
                                         .kl_beta = recorded.at("beta").get<double>(),
                                         .kl_over = kl_std == "std_dev_t"
                                                        ? tempflow::kl_denominator::diffusion
                                                        : tempflow::kl_denominator::transition_variance};

  tempflow::batch_buffer<double> gradient(batch, dim);
  std::vector<tempflow::policy_row> rows(static_cast<std::size_t>(batch));
  const auto total = tempflow::policy_loss(backend, transitions, v.view(), v_ref, objective, gradient.view(),
                                           std::span<tempflow::policy_row>(rows));

  const auto number = [&](const char* name) { return recorded.at(name).get<double>(); };
  CHECK(near(total.loss, number("loss")));
  CHECK(near(total.surrogate, number("policy_loss")));
  CHECK(near(total.kl, number("kl")));
  CHECK(near(total.approx_kl, number("approx_kl")));
  CHECK(std::abs(total.clip_fraction() - number("clip_fraction")) < 1e-15);
  const auto log_prob = read("log_prob"), ratio = read("ratio"), grad_v = read("grad_v");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(near(rows[i].log_prob, log_prob[i]));
    CHECK(near(rows[i].ratio, ratio[i]));
  }
  // Gradients are small: relative to the largest of the case.
  double largest = 0;
  for (const double g : grad_v) largest = std::max(largest, std::abs(g));
  REQUIRE(largest > 0);
  CHECK(support::largest_difference(support::values_of(gradient.view()), grad_v) <= tolerance * largest);
}

}  // namespace

TEMPLATE_TEST_CASE("losses, statistics and gradients are those of the published implementations", "[golden]",
                   tempflow::reference_backend, tempflow::cpu_backend) {
  const auto& cases = support::golden("objective");
  REQUIRE(cases.size() == 24);
  for (const auto& recorded : cases) {
    INFO("step " << recorded.at("step") << ", clip " << recorded.at("clip_range") << ", beta "
                 << recorded.at("beta") << ", KL over " << recorded.at("kl_std"));
    check_recorded(recorded, TestType{});
  }
}
