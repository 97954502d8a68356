// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Objectives that are chosen at run time, so that kernels are compiled for two types and not for each objective. Without
// torch's headers: CUDA sources include it too.

#include "tempflow/objective/advantage_weighted_matching.hpp"
#include "tempflow/objective/clipped_grpo.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/dual_clipped_grpo.hpp"
#include "tempflow/objective/flow_dppo.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/objective/row_objective.hpp"

namespace tempflow::python {

/// One of the ratio. A policy_objective.
class ratio_choice {
 public:
  double kl_beta;
  kl_denominator kl_over;

  explicit ratio_choice(const clipped_grpo& of)
      : kl_beta(of.kl_beta), kl_over(of.kl_over), clipped_(of), is_dual_(false) {}
  explicit ratio_choice(const dual_clipped_grpo& of)
      : kl_beta(of.kl_beta), kl_over(of.kl_over), dual_(of), is_dual_(true) {}

  TEMPFLOW_HD surrogate operator()(double log_ratio, double advantage, double weight) const {
    return is_dual_ ? dual_(log_ratio, advantage, weight) : clipped_(log_ratio, advantage, weight);
  }
  void validate() const { is_dual_ ? dual_.validate() : clipped_.validate(); }

 private:
  clipped_grpo clipped_ = {};
  dual_clipped_grpo dual_ = {};
  bool is_dual_;
};

/// One of a row's means. A row_objective.
class row_choice {
 public:
  row_needs needs;
  double mixture = 0;
  double kl_beta;
  kl_denominator kl_over;

  explicit row_choice(const grpo_guard& of) : row_choice(of, kind::guard) { guard_ = of; }
  explicit row_choice(const flow_dppo& of) : row_choice(of, kind::dppo) { dppo_ = of; }
  explicit row_choice(const diffusion_nft& of) : row_choice(of, kind::nft) {
    nft_ = of, mixture = of.mixture;
  }
  explicit row_choice(const advantage_weighted_matching& of) : row_choice(of, kind::matching) {
    matching_ = of;
  }

  TEMPFLOW_HD row_loss operator()(const scored_row& row) const {
    switch (kind_) {
      case kind::guard: return guard_(row);
      case kind::dppo: return dppo_(row);
      case kind::nft: return nft_(row);
      case kind::matching: return matching_(row);
    }
    return {};
  }

  void validate() const {
    switch (kind_) {
      case kind::guard: return guard_.validate();
      case kind::dppo: return dppo_.validate();
      case kind::nft: return nft_.validate();
      case kind::matching: return matching_.validate();
    }
  }

 private:
  enum class kind { guard, dppo, nft, matching };

  template <row_objective Objective>
  row_choice(const Objective& of, kind chosen)
      : needs(Objective::needs), kl_beta(of.kl_beta), kl_over(of.kl_over), kind_(chosen) {}

  kind kind_;
  grpo_guard guard_ = {};
  flow_dppo dppo_ = {};
  diffusion_nft nft_ = {};
  advantage_weighted_matching matching_ = {};
};

inline ratio_choice chosen(const clipped_grpo& of) { return ratio_choice(of); }
inline ratio_choice chosen(const dual_clipped_grpo& of) { return ratio_choice(of); }
template <row_objective Objective>
row_choice chosen(const Objective& of) {
  return row_choice(of);
}

}  // namespace tempflow::python
