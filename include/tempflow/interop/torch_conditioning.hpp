// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a torch network is told of prompts: embeddings with a row per prompt, gathered by the ids of a batch.

#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tempflow/interop/torch.hpp"

namespace tempflow {

/// N tensors of the network's own dtypes, with a row per prompt, where the network computes.
template <std::size_t N>
struct torch_conditioning {
  std::array<at::Tensor, N> of_prompts;     ///< (P, ...) each
  std::array<at::Tensor, N> negative = {};  ///< (1, ...) or (P, ...), for guidance with a doubled batch alone
  std::vector<index_t> ids = {};            ///< the P prompts' ids in rollouts; empty: 0 to P - 1
};

namespace detail {

/// Whether a tensor is on a device; on any of a kind where it has no number.
inline bool lies_on(const at::Tensor& tensor, at::Device device) {
  return tensor.device().type() == device.type() &&
         (!device.has_index() || tensor.device().index() == device.index());
}

/// Conditioning that was looked at, for a network on a device.
template <std::size_t N>
class checked_conditioning {
 public:
  checked_conditioning(torch_conditioning<N> given, bool doubled, at::Device device)
      : given_(std::move(given)), doubled_(doubled) {
    for (std::size_t i = 0; i < N; ++i) {
      const at::Tensor &of_prompts = given_.of_prompts[i], &negative = given_.negative[i];
      check("of_prompts", i, of_prompts, device);
      if (i == 0) rows_ = of_prompts.size(0);
      if (of_prompts.size(0) != rows_) {
        throw shape_error(text("of_prompts", i, of_prompts, rows_, " rows, as of_prompts[0]"));
      }
      if (doubled) {
        check("negative", i, negative, device);
        check_negative(i, negative, of_prompts);
      } else if (negative.defined()) {
        throw value_error(text("negative", i, negative, "none: this guidance takes no negative prompts"));
      }
    }
    const auto named = static_cast<index_t>(given_.ids.size());
    if (named > 0 && named != rows_) {
      throw shape_error(
          message("torch_model: ", named, " ids, expected one for each of ", rows_, " prompts"));
    }
  }

  /// The row of a prompt. Throws value_error for an id that has none.
  std::int64_t row_of(index_t id) const {
    if constexpr (N == 0) return 0;
    const auto& ids = given_.ids;
    const index_t row = ids.empty() ? id : std::ranges::find(ids, id) - ids.begin();
    if (row >= 0 && row < rows_) return row;
    throw value_error(message("torch_model: prompt ", id, " has no conditioning; there are ", rows_,
                              ids.empty() ? " prompts, numbered from 0 on" : " prompts with ids"));
  }

  /// The i-th tensor for a batch of rows: negative prompts first, where the batch is doubled.
  at::Tensor gather(std::size_t i, const at::Tensor& rows) const {
    const at::Tensor told = given_.of_prompts[i].index_select(0, rows);
    if (!doubled_) return told;
    const at::Tensor& negative = given_.negative[i];
    return at::cat({negative.size(0) == 1 ? negative.expand_as(told) : negative.index_select(0, rows), told});
  }

 private:
  template <class... Expected>
  static std::string text(const char* which, std::size_t i, const at::Tensor& tensor,
                          const Expected&... expected) {
    return message("torch_model: ", which, "[", i, "] is ", torch_text(tensor), ", expected ", expected...);
  }

  static void check(const char* which, std::size_t i, const at::Tensor& tensor, at::Device device) {
    if (!tensor.defined() || !lies_on(tensor, device)) {
      throw memory_error(text(which, i, tensor, "it on ", device.str()));
    }
    if (tensor.dim() == 0) throw shape_error(text(which, i, tensor, "a row per prompt"));
  }

  static void check_negative(std::size_t i, const at::Tensor& negative, const at::Tensor& of_prompts) {
    const bool fits =
        negative.dim() == of_prompts.dim() && negative.sizes().slice(1) == of_prompts.sizes().slice(1);
    if (!fits || (negative.size(0) != 1 && negative.size(0) != of_prompts.size(0))) {
      throw shape_error(text("negative", i, negative, "the extents of ", torch_text(of_prompts),
                             ", with as many rows or one"));
    }
    if (negative.scalar_type() != of_prompts.scalar_type()) {
      throw value_error(text("negative", i, negative, c10::toString(of_prompts.scalar_type())));
    }
  }

  torch_conditioning<N> given_;
  bool doubled_;
  index_t rows_ = 0;
};

}  // namespace detail
}  // namespace tempflow
