// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Noise for many blocks of four elements at a time, in the instructions that a kernel is compiled for. The
// arithmetic is that of noise_block, and so are the bits.

#include "tempflow/core/call_apart.hpp"
#include "tempflow/core/instruction_set.hpp"
#include "tempflow/core/lanes.hpp"
#include "tempflow/core/noise.hpp"

namespace tempflow::detail {

/// Elements of noise that are drawn at a time.
inline constexpr int noise_chunk = 256;

/// Blocks that a kernel draws side by side, one per 32-bit lane.
template <instruction_set Instructions>
inline constexpr int noise_lanes = TEMPFLOW_VECTOR_TYPES&& Instructions == instruction_set::avx512 ? 16
                                   : TEMPFLOW_VECTOR_TYPES&& Instructions == instruction_set::avx2 ? 8
                                                                                                   : 1;

/// Normals for Blocks blocks from `first_block` on: 4 * Blocks elements.
template <int Blocks>
TEMPFLOW_INLINE_HOST void write_noise_blocks(noise_key key, noise_id id, index_t first_block,
                                             float* normals) {
  if constexpr (Blocks == 1) {
    const normal_quad quad = noise_block(key, id, first_block);
    for (int k = 0; k < 4; ++k) normals[k] = quad.value[k];
  } else {
    using counters = lanes<std::uint64_t, Blocks / 2>;
    const philox_words counter = noise_counter(id, first_block);
    counters twice_lane;
    for (int i = 0; i < Blocks / 2; ++i) twice_lane.bytes.value[i] = 2 * static_cast<std::uint64_t>(i);
    philox_lanes<counters> even{
        {twice_lane + counter.word[0], counter.word[1], counter.word[2], counter.word[3]}};
    philox_lanes<counters> odd{
        {twice_lane + (counter.word[0] + 1u), counter.word[1], counter.word[2], counter.word[3]}};
    philox_rounds({{key.seed, key.update}}, even, odd);
    lanes<float, Blocks> z0, z1, z2, z3;
    box_muller(interleave_low_halves(even.word[0], odd.word[0]),
               interleave_low_halves(even.word[1], odd.word[1]), z0, z1);
    box_muller(interleave_low_halves(even.word[2], odd.word[2]),
               interleave_low_halves(even.word[3], odd.word[3]), z2, z3);
    write_interleaved(z0, z1, z2, z3, normals);
  }
}

/// Normals for `count` elements of a row from `first` on, in the instructions of the caller.
template <instruction_set Instructions>
TEMPFLOW_INLINE_HOST void write_noise_in(noise_key key, noise_id id, index_t first, index_t count,
                                         float* normals) {
  constexpr int blocks = noise_lanes<Instructions>;
  static_assert(noise_chunk % (4 * blocks) == 0);
  for (index_t e = 0; e < count; e += 4 * blocks) {
    write_noise_blocks<blocks>(key, id, (first + e) / 4, normals + e);
  }
}
/// A function of its own, where all else is a part of its caller: the longest of the texts.
struct noise_text {
  noise_key key;
  noise_id id;
  index_t first, count;
  float* normals;

  template <class Instructions>
  TEMPFLOW_INLINE_HOST void operator()(Instructions) const {
    write_noise_in<Instructions::value>(key, id, first, count, normals);
  }
};

/// Normals for `count` elements of a row from `first` on, at most noise_chunk; `first` is a multiple of 4.
/// Also writes what is left of the last register's worth.
template <instruction_set Instructions>
TEMPFLOW_INLINE_HOST void write_noise(noise_key key, noise_id id, index_t first, index_t count,
                                      float (&normals)[noise_chunk]) {
  call_apart<Instructions>(noise_text{key, id, first, count, normals});
}

}  // namespace tempflow::detail
