// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// DiffusionNFT's objective: no log-probs and no sampler, but finished samples x0, noised again to x_t = (1 - t) x0
// + t z. The velocity is taught towards x0 through two policies that it implies,
//
//   v+ = v_old + b (v - v_old),   v- = v_old - b (v - v_old)
//   L = w c / b [ p mean((x0+ - x0)^2) / W+ + (1 - p) mean((x0- - x0)^2) / W- ],   x0+- = x_t - t v+-
//   p = 1/2 + clamp(A, +-c) / (2 c),   W+- = max(mean |x0+- - x0|, least), not differentiated
//
// It needs no formula of its own for x0: with y = x0 and the transition from t to 0 without noise (alpha 1, beta
// -t: what clean_transition gives) y - alpha x - beta v is x0 minus the x0 that v predicts. Source: DiffusionNFT,
// arXiv 2509.16117, eqs. 5 to 7; scripts/train_nft_sd3.py.

#include "tempflow/core/numeric.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow {

/// DiffusionNFT's loss, a row_objective: needs v_old, no old log-probs, and batches with y = x0 and clean_transition.
struct diffusion_nft {
  static constexpr row_needs needs{.ratio = false, .old_velocity = true, .finished = true, .zeros = true};

  double mixture = 1;         ///< b: 1; 0.1 for OCR and several rewards
  double advantage_clip = 5;  ///< c
  double min_weight = 1e-5;   ///< W+- are not smaller
  double kl_beta = 1e-4;      ///< weight of mean((v - v_ref)^2)
  kl_denominator kl_over = kl_denominator::velocity;

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    const double clamped = row.advantage > advantage_clip    ? advantage_clip
                           : row.advantage < -advantage_clip ? -advantage_clip
                                                             : row.advantage;
    const double good = fused_multiply_add(clamped, 0.5 / advantage_clip, 0.5);
    const double scale = row.weight * advantage_clip / mixture;
    const side positive(row, 1 - mixture, row.mean.positive, min_weight, scale * good);
    const side negative(row, 1 + mixture, row.mean.negative, min_weight, scale * (1 - good));
    const auto both = [&](double of_positive, double of_negative) {
      return fused_multiply_add(positive.factor, of_positive, negative.factor * of_negative);
    };
    return {both(positive.square, negative.square),
            {.residual = positive.factor + negative.factor,
             .old = both(positive.of_old * positive.of_old, negative.of_old * negative.of_old),
             .residual_old = both(2 * positive.of_old, 2 * negative.of_old)}};
  }

  /// Throws value_error for parameters that are not positive or not finite.
  void validate() const {
    clipped_grpo{.kl_beta = kl_beta}.validate();
    const auto check_positive = [](const char* name, double value) {
      if (!is_finite(value) || value <= 0)
        throw value_error(detail::message("diffusion_nft: ", name, " = ", value, ", must be positive"));
    };
    check_positive("mixture", mixture);
    check_positive("advantage_clip", advantage_clip);
    check_positive("min_weight", min_weight);
  }

 private:
  /// One of the two terms: factor mean(e^2), e = r + of_old (v - v_old).
  struct side {
    double of_old, square, factor;

    TEMPFLOW_HD side(const scored_row& row, double distance, double absolute, double least, double share)
        : of_old(row.step.beta * distance), factor(share / (absolute > least ? absolute : least)) {
      const double crossed = fused_multiply_add(of_old, row.mean.old, 2 * row.mean.residual_old);
      square = fused_multiply_add(of_old, crossed, row.mean.residual);
    }
  };
};

}  // namespace tempflow
