// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Noise with an identity. A draw is a function of (seed, update, prompt, seed index, step, branch, element):
// a branch sees the same noise on any thread, in any chunk and on any machine, and can be drawn again.

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tempflow/config.hpp"
#include "tempflow/core/index.hpp"
#include "tempflow/core/normal.hpp"
#include "tempflow/core/philox.hpp"

namespace tempflow {

/// Which stream of noise: the run's seed and the update (or epoch) it is drawn for. These are Philox's key,
/// so no two pairs share a stream.
struct noise_key {
  std::uint32_t seed = 0;
  std::uint32_t update = 0;
};

/// Which draw within the stream. Every field is an identity, never a position in a batch.
struct noise_id {
  std::uint32_t prompt = 0;  ///< the prompt's id
  std::uint32_t seed = 0;    ///< index of the initial noise within the prompt
  std::uint16_t step = 0;    ///< step of the chain
  std::uint16_t branch = 0;  ///< exploration within the step

  friend constexpr bool operator==(const noise_id&, const noise_id&) = default;
};

/// A noise_id as three integers: prompt, seed, step | branch << 16. Where the lower byte comes first (x86, ARM, GPUs),
/// these are its bytes in memory, and a table of R x 3 integers is one of R ids: copy it by memcpy.
using packed_noise_id = std::array<std::uint32_t, 3>;

static_assert(std::is_trivially_copyable_v<noise_id> && std::is_standard_layout_v<noise_id> &&
              sizeof(noise_id) == 12 && alignof(noise_id) == 4);  // those of packed_noise_id
static_assert(offsetof(noise_id, prompt) == 0 && offsetof(noise_id, seed) == 4 &&
              offsetof(noise_id, step) == 8 && offsetof(noise_id, branch) == 10);

/// The `step` of the draws that start a trajectory at sigma_0.
inline constexpr std::uint16_t initial_noise_step = 0xffff;

/// The `step` of draws that are not noise: orders of rows, starts of windows.
inline constexpr std::uint16_t choice_step = 0xfffe;

/// Chains have fewer steps than this.
inline constexpr index_t step_limit = choice_step;

namespace detail {

TEMPFLOW_HD constexpr std::uint32_t step_and_branch(noise_id id) {
  return static_cast<std::uint32_t>(id.step) | (static_cast<std::uint32_t>(id.branch) << 16);
}

/// Philox's counter for a block of four elements.
TEMPFLOW_HD constexpr philox_words noise_counter(noise_id id, index_t block) {
  return {{static_cast<std::uint32_t>(block), step_and_branch(id), id.seed, id.prompt}};
}

}  // namespace detail

/// The integers of an id.
constexpr packed_noise_id pack(noise_id id) { return {id.prompt, id.seed, detail::step_and_branch(id)}; }

/// The id of its integers.
constexpr noise_id unpack(const packed_noise_id& words) {
  return {.prompt = words[0],
          .seed = words[1],
          .step = static_cast<std::uint16_t>(words[2] & 0xffffu),
          .branch = static_cast<std::uint16_t>(words[2] >> 16)};
}

/// A uniform integer in [0, count) for a choice; `index` tells the choices under one key apart.
constexpr std::uint64_t uniform_choice(noise_key key, std::uint32_t index, std::uint64_t count) {
  const philox_words bits = philox4x32({{index, choice_step, 0, 0}}, {{key.seed, key.update}});
  return ((std::uint64_t{bits.word[0]} << 32) | bits.word[1]) % count;
}

/// Normals for elements 4 * block to 4 * block + 3 of a row.
TEMPFLOW_HD inline normal_quad noise_block(noise_key key, noise_id id, index_t block) {
  return box_muller(philox4x32(detail::noise_counter(id, block), {{key.seed, key.update}}));
}

}  // namespace tempflow
