// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Objectives with random parameters.

#include <functional>

#include "properties/draw.hpp"
#include "tempflow/objective/advantage_weighted_matching.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/dual_clipped_grpo.hpp"
#include "tempflow/objective/flow_dppo.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace properties {

inline double random_beta(draw& source) { return source.once_in(3) ? 0 : source.magnitude(1e-4, 1); }

inline tempflow::kl_denominator random_denominator(draw& source) {
  using tempflow::kl_denominator;
  return source.one_of({kl_denominator::transition_variance, kl_denominator::diffusion, kl_denominator::unit,
                        kl_denominator::velocity});
}

inline tempflow::clip_range random_clip(draw& source) {
  return {source.once_in(5) ? 0 : source.magnitude(1e-5, 0.9), source.magnitude(1e-5, 1e3)};
}

inline tempflow::clipped_grpo random_clipped(draw& source) {
  return {.clip = random_clip(source),
          .advantage_clip = source.one_of({1.0, 5.0}),
          .kl_beta = random_beta(source),
          .kl_over = random_denominator(source)};
}

/// One of several objectives, chosen at run time: one type, so that what calls it is compiled once.
struct chosen_objective {
  tempflow::row_needs needs;
  double kl_beta = 0;
  tempflow::kl_denominator kl_over = {};
  double mixture = 0;
  std::function<tempflow::row_loss(const tempflow::scored_row&)> loss;

  template <class Objective>
  explicit chosen_objective(const Objective& given)
      : needs(tempflow::as_row_objective(given).needs),
        kl_beta(given.kl_beta),
        kl_over(given.kl_over),
        mixture(tempflow::detail::mixture_of(given)),
        loss([of = tempflow::as_row_objective(given)](const tempflow::scored_row& row) { return of(row); }) {
    given.validate();
  }

  tempflow::row_loss operator()(const tempflow::scored_row& row) const { return loss(row); }
  void validate() const {}
};

/// An objective of drawn transitions.
inline chosen_objective drawn_objective(draw& source) {
  const auto clip = random_clip(source);
  const double beta = random_beta(source);
  const auto over = random_denominator(source);
  switch (source.between(0, 3)) {
    case 0: return chosen_objective(random_clipped(source));
    case 1:
      return chosen_objective(
          tempflow::dual_clipped_grpo{.clip = clip,
                                      .max_ratio = 1 + clip.high + source.magnitude(0.1, 10),
                                      .kl_beta = beta,
                                      .kl_over = over});
    case 2: return chosen_objective(tempflow::grpo_guard{.clip = clip, .kl_beta = beta, .kl_over = over});
    default:
      return chosen_objective(tempflow::flow_dppo{.divergence_bound = source.one_of({0.0, 1e-5, 1.0}),
                                                  .divergence_over = random_denominator(source),
                                                  .kl_beta = beta,
                                                  .kl_over = over});
  }
}

/// An objective of finished samples.
inline chosen_objective finished_objective(draw& source) {
  using tempflow::kl_denominator;
  using tempflow::matching_weight;
  const double beta = random_beta(source);
  const auto over = source.one_of({kl_denominator::unit, kl_denominator::velocity});
  if (source.once_in(2)) {
    return chosen_objective(tempflow::diffusion_nft{.mixture = source.magnitude(0.1, 2),
                                                    .min_weight = source.one_of({1e-5, 1e3}),
                                                    .kl_beta = beta,
                                                    .kl_over = over});
  }
  return chosen_objective(tempflow::advantage_weighted_matching{
      .clip = random_clip(source),
      .weight = source.one_of({matching_weight::uniform, matching_weight::time, matching_weight::time_squared,
                               matching_weight::huber, matching_weight::quartic_root}),
      .kl_beta = beta,
      .kl_over = over});
}

}  // namespace properties
