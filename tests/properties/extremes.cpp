// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Extreme values anywhere: elements that are subnormal, huge, infinite or NaN, coefficients at the ends of what is taken,
// advantages, weights and old log-probs of any size. Results are finite where they count, rows and tokens that have no
// such results are marked and do not touch others, or the call is refused by a typed error.

#include <algorithm>

#include "properties/disturb.hpp"
#include "properties/objectives.hpp"
#include "properties/problem.hpp"
#include "properties/property.hpp"
#include "properties/rows.hpp"
#include "tempflow/compiled.hpp"
#include "tempflow/ops/group_advantages.hpp"
#include "tempflow/ops/guidance.hpp"

namespace properties {
namespace {

using tempflow::policy_row;

/// Calls act; true unless it is refused by an error of the library's.
template <class Act>
bool accepted(const Act& act) {
  try {
    act();
    return true;
  } catch (const tempflow::error& refused) {
    require(std::string(refused.what()).size() > 20, "an error without a reason");
    return false;
  }
}

template <class T>
void check_losses(draw& source) {
  problem<T> of(source, source.once_in(3));
  const bool finished = source.once_in(3);
  if (finished) {
    for (transition& step : of.steps)
      step = tempflow::clean_transition(source.one_of({1e-300, 1e-20, 1e-5, 0.5, 1.0}));
    of.convention = support::squared_error;
  } else {
    disturb(source, of.steps);
  }
  for (auto* batch : {&of.x, &of.y, &of.v, &of.v_ref, &of.v_old}) disturb(source, *batch);
  of.old.assign(at(of.rows()), 0.0);
  accepted([&] { tempflow::log_prob(plain_cpu(), of.batch(), of.v_old, of.old); });
  for (double& old : of.old) old = tempflow::is_finite(old) ? old : 1;
  disturb(source, of.old, false), disturb(source, of.advantages, false), disturb(source, of.weights, true);
  const auto objective = finished ? finished_objective(source) : drawn_objective(source);
  const auto clipped = random_clipped(source);
  const bool own_kernel = !finished && source.once_in(2);
  if (own_kernel) of.mask_rows = 0;
  auto batch = of.batch();
  batch.gradient_scale = source.once_in(3) ? extreme(source, true) : 1;

  const auto loss = [&](const auto& backend, batch_buffer<T>& gradient, std::vector<policy_row>& rows) {
    return own_kernel
               ? tempflow::policy_loss(backend, batch, of.v, of.v_ref, clipped, gradient, std::span(rows))
               : tempflow::policy_loss(backend, batch, of.v, of.v_ref, of.v_old, objective, gradient,
                                       std::span(rows));
  };
  batch_buffer<T> gradient(of.states, of.columns), other(of.states, of.columns);
  std::vector<policy_row> rows(at(of.rows())), other_rows(at(of.rows()));
  tempflow::policy_statistics total;
  if (!accepted([&] { total = loss(plain_cpu(), gradient, rows); })) return;
  check_rows(rows, of.old, own_kernel || objective.needs.ratio);
  check_all_finite(gradient);
  index_t left_out = 0;
  for (index_t s = 0; s < of.states; ++s) {
    bool any = false;
    for (index_t i = of.offsets[at(s)]; i < of.offsets[at(s) + 1]; ++i)
      any = any || rows[at(i)].finite != 0, left_out += rows[at(i)].finite == 0;
    require(any || support::row_is_zero(gradient, s), "state ", s, " has a gradient, and no row");
  }
  require(total.non_finite_rows == left_out, total.non_finite_rows, " rows are said to be left out, ",
          left_out, " are");
  require(left_out == 0 || !tempflow::is_finite(total.loss), "rows were left out, and the loss is ",
          total.loss);
  require(tempflow::is_finite(total.kl), "the mean KL of the rows that count is ", total.kl);
  const auto again = loss(source.cpu(), other, other_rows);
  require(same_bits(gradient, other) && same_rows(rows, other_rows) && again.non_finite_rows == left_out,
          "other bits on another backend");
}

/// A row that is not finite does not touch its neighbours, and its log-prob shows it.
template <class T>
void check_steps(draw& source) {
  problem<T> of(source, true);
  disturb(source, of.steps), disturb(source, of.x), disturb(source, of.v);
  const auto ids = random_ids(source, of.states);
  const tempflow::noise_source noise({1, 2}, ids);
  batch_buffer<T> y(of.states, of.columns), alone(1, of.columns);
  std::vector<double> scores(at(of.states));
  if (!accepted([&] { tempflow::step(source.cpu(), of.x, of.v, of.steps, noise, y, scores, of.convention); }))
    return;
  const auto same_number = [](double a, double b) { return a == b || (a != a && b != b); };
  for (index_t i = 0; i < of.states; ++i) {
    double score = 0;
    tempflow::step(plain_cpu(), of.x.view().slice(i, 1), of.v.view().slice(i, 1), of.steps[at(i)],
                   tempflow::noise_source({1, 2}, ids[at(i)]), alone, std::span(&score, 1), of.convention);
    bool same = same_number(score, scores[at(i)]), finite = true;
    for (index_t e = 0; e < of.columns; ++e) {
      const double in_company = value_of(y.view().row(i)[e]);
      same = same && same_number(in_company, value_of(alone.view().row(0)[e]));
      finite = finite && tempflow::is_finite(in_company) &&
               tempflow::is_finite(value_of(of.x.view().row(i)[e])) &&
               tempflow::is_finite(value_of(of.v.view().row(i)[e]));
    }
    require(same, "row ", i, " has other numbers alone");
    require(finite || !tempflow::is_finite(score), "row ", i, " is not finite, and its log-prob is ", score);
  }
}

/// Tokens of finite numbers whose squares fp32 can add up are finite, and no token touches another.
template <class T>
void check_guidance(draw& source) {
  const index_t channels = source.one_of<index_t>({0, 1, 4, 64}), rows = source.between(1, 3),
                columns = channels == 0 ? source.between(1, 200) : channels * source.between(1, 20);
  auto c = support::random_batch<T>(rows, columns, source.bits()),
       u = support::random_batch<T>(rows, columns, source.bits()),
       g = support::random_batch<T>(rows, columns, source.bits());
  disturb(source, c), disturb(source, u), disturb(source, g);
  if (source.once_in(4)) c = u;
  const double scale = source.once_in(2) ? 4.5 : extreme(source, false);
  const tempflow::guidance_options options{.scale = scale, .channels = channels};
  batch_buffer<T> guided(rows, columns), of_c(rows, columns), of_u(rows, columns);
  if (!accepted([&] { tempflow::guide(source.cpu(), c, u, options, guided); })) return;
  tempflow::guide_gradient(source.cpu(), g, c, u, options, of_c, of_u);
  const index_t token = channels == 0 ? 1 : channels;
  for (index_t i = 0; i < rows; ++i) {
    for (index_t first = 0; first < columns; first += token) {
      double largest = 0, smallest = HUGE_VAL, norm_of_m = 0;
      for (index_t e = first; e < first + token; ++e) {
        const double ce = value_of(c.view().row(i)[e]), ue = value_of(u.view().row(i)[e]),
                     ge = value_of(g.view().row(i)[e]);
        const double m = ue + scale * (ce - ue);
        for (const double number :
             {ce, ue, ge, m, scale * (ce - ue), scale * ge, (1 - scale) * ge, scale * m})
          largest = tempflow::is_finite(number) ? (std::max)(largest, std::abs(number)) : positive_infinity;
        norm_of_m += m * m;
      }
      smallest = channels == 0 ? 1 : std::sqrt(norm_of_m);
      if (!(largest < 1e4) || smallest < 1e-3) continue;
      for (index_t e = first; e < first + token; ++e) {
        for (const auto* result : {&guided, &of_c, &of_u}) {
          const double number = value_of(result->view().row(i)[e]);
          // fp16 ends at 65,504: gradients of a short |m| may pass it.
          const bool narrow = std::is_same_v<T, float16> && smallest < 1e4 * largest;
          require(tempflow::is_finite(number) || narrow, "element ", e, " of row ", i, " is ", number,
                  " (w = ", scale, ", ", channels, " channels)");
        }
      }
    }
  }
}

/// Rewards of any size are advantages that are finite, or refused.
void check_advantages(draw& source) {
  const index_t count = source.between(1, 20);
  std::vector<double> rewards, advantages(at(count));
  std::vector<std::int64_t> groups;
  const bool finite = !source.once_in(3);
  for (index_t i = 0; i < count; ++i) {
    rewards.push_back(source.once_in(2) ? source.uniform(-1, 1) : extreme(source, finite));
    groups.push_back(source.between(0, 3));
  }
  tempflow::advantage_options options;
  options.scale = source.one_of({tempflow::advantage_scale::group_std, tempflow::advantage_scale::global_std,
                                 tempflow::advantage_scale::none});
  options.baseline =
      source.one_of({tempflow::advantage_baseline::group_mean, tempflow::advantage_baseline::others_mean});
  options.std = source.one_of({tempflow::std_estimate::population, tempflow::std_estimate::sample});
  options.epsilon = source.once_in(2) ? 1e-4 : std::abs(extreme(source, true));
  options.not_finite =
      source.one_of({tempflow::not_finite_rewards::refuse, tempflow::not_finite_rewards::exclude});
  const auto check = [&](std::span<const double> values) {
    for (index_t i = 0; i < count; ++i) {
      const double advantage = values[at(i)];
      require(tempflow::is_finite(advantage), "the advantage of sample ", i, ", reward ", rewards[at(i)],
              ", is ", advantage);
      require(tempflow::is_finite(rewards[at(i)]) || advantage == 0, "excluded sample ", i,
              " has an advantage of ", advantage);
    }
  };
  if (accepted([&] { advantages = tempflow::group_advantages(rewards, groups, options).values; }))
    check(advantages);
  if (accepted([&] {
        tempflow::group_advantages(source.cpu(), std::span<const double>(rewards), groups, options,
                                   std::span(advantages));
      })) {
    check(advantages);
  }
}

/// Steps at the ends of a schedule: a chain is refused, or its steps sample and score numbers of order 1.
void check_schedules(draw& source) {
  std::vector<double> sigmas{source.once_in(2) ? 1 : 1 - source.magnitude(1e-17, 0.5)};
  for (index_t n = source.between(1, 5); n > 0; --n) {
    const double last = sigmas.back();
    const double next = source.one_of({last * source.uniform(0.1, 1), last - source.magnitude(1e-17, 1e-3),
                                       last * source.magnitude(1e-300, 1), std::nextafter(last, 0.0)});
    sigmas.push_back(next);
  }
  if (source.once_in(2)) sigmas.push_back(0);
  const double level = source.one_of({0.0, 1e-300, 1e-8, 0.7, 1.0, source.magnitude(1e-6, 1e6)});
  tempflow::chain steps = tempflow::make_chain({1, 0}, tempflow::ode{});
  const bool made = accepted([&] {
    switch (source.between(0, 5)) {
      case 0: steps = tempflow::make_chain(sigmas, tempflow::flow_sde{level}); break;
      case 1: steps = tempflow::make_chain(sigmas, tempflow::dance_sde{level}); break;
      case 2: steps = tempflow::make_chain(sigmas, tempflow::flow_cps{level}); break;
      case 3: steps = tempflow::make_chain(sigmas, tempflow::ddim{level}); break;
      case 4: steps = tempflow::make_chain(sigmas, tempflow::wan_sde::on(sigmas)); break;
      default: steps = tempflow::make_chain(sigmas, tempflow::ode{});
    }
  });
  if (!made) return;
  const auto x = support::random_batch<float>(1, 40, 1), v = support::random_batch<float>(1, 40, 2);
  const std::vector<tempflow::noise_id> ids(1);
  for (const transition& step : steps.transitions()) {
    require(tempflow::is_finite(step.alpha) && tempflow::is_finite(step.beta) &&
                tempflow::is_finite(step.std) && tempflow::is_finite(step.diffusion) && step.std >= 0 &&
                step.dt > 0,
            "a step from ", step.sigma, " to ", step.sigma_next, " has alpha ", step.alpha, ", beta ",
            step.beta, ", std ", step.std, ", diffusion ", step.diffusion);
    batch_buffer<float> y(1, 40);
    double score = 0;
    if (!accepted([&] {
          tempflow::step(plain_cpu(), x, v, step, {{1, 2}, ids}, y,
                         step.stochastic() ? std::span(&score, 1) : std::span<double>());
        })) {
      continue;
    }
    for (const double number : support::values_of(y.view()))
      require(tempflow::is_finite(number), "a sampled element is ", number);
    require(tempflow::is_finite(score), "the log-prob of a step from ", step.sigma, " to ", step.sigma_next,
            ", std = ", step.std, ", is ", score);
  }
}

const property losses("losses of extreme values", [](draw& source) {
  with_storage(source, [&]<class T>() { check_losses<T>(source); });
});
const property steps("steps of extreme values",
                     [](draw& source) { with_storage(source, [&]<class T>() { check_steps<T>(source); }); });
const property guidance("guidance of extreme values", [](draw& source) {
  with_storage(source, [&]<class T>() { check_guidance<T>(source); });
});
const property advantages("advantages of extreme values", check_advantages);
const property schedules("schedules of extreme values", check_schedules);

}  // namespace
}  // namespace properties
