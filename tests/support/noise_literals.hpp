// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// Noise that must never change, or every seed of every user would draw something else: a few identities with
// all their fields distinct, and the bits of their normals. The table is tests/data/noise.py's, which computes it
// from the documented layout and formulas, and shares nothing with the library:
//
//   philox4x32-10 of the counter (element / 4, step | branch << 16, seed index, prompt), key (seed, update)

#include <vector>

#include "tempflow/core/noise.hpp"

namespace support {

/// Elements 4 block to 4 block + 3 of the noise of an id.
struct literal_noise {
  tempflow::noise_key key;
  tempflow::noise_id id;
  tempflow::index_t block;
  std::vector<float> normals;
};

inline const std::vector<literal_noise>& literal_noises() {
  static const std::vector<literal_noise> all = {
      {.key = {.seed = 0x2a, .update = 0x3},
       .id = {.prompt = 0x7, .seed = 0x2, .step = 0x5, .branch = 0x4},
       .block = 0x0,
       .normals = {-0x1.145e28p-2f, 0x1.0e2c2ap-1f, -0x1.82da02p-2f, 0x1.bd09c6p-1f}},
      {.key = {.seed = 0x2a, .update = 0x3},
       .id = {.prompt = 0x7, .seed = 0x2, .step = 0x5, .branch = 0x4},
       .block = 0x1,
       .normals = {-0x1.eac0e8p-6f, 0x1.f53954p-1f, -0x1.d6ac0ap-2f, -0x1.0edb6ep+0f}},
      {.key = {.seed = 0x2a, .update = 0x3},
       .id = {.prompt = 0x7, .seed = 0x2, .step = tempflow::initial_noise_step, .branch = 0x0},
       .block = 0x0,
       .normals = {-0x1.5cce4ap+0f, -0x1.84e104p-2f, -0x1.2b4016p-1f, -0x1.bcb9acp-2f}},
      {.key = {.seed = 0x2a, .update = 0x3},
       .id = {.prompt = 0x7, .seed = 0x2, .step = tempflow::initial_noise_step, .branch = 0x0},
       .block = 0x100,
       .normals = {0x1.575964p-3f, 0x1.ea4d6p-2f, -0x1.0f66fep-2f, -0x1.b5f4fep+1f}},
      {.key = {.seed = 0x1234567, .update = 0x89abcdef},
       .id = {.prompt = 0xdeadbeef, .seed = 0xc0ffee, .step = 0x1234, .branch = 0x5678},
       .block = 0x9abcdef0,
       .normals = {0x1.ba626ap-1f, 0x1.08817ep+0f, 0x1.0f3cccp+0f, -0x1.9696ap-1f}},
      {.key = {.seed = 0x1, .update = 0x2},
       .id = {.prompt = 0x3, .seed = 0x4, .step = 0x5, .branch = 0x6},
       .block = 0xffffffff,
       .normals = {0x1.7598f4p-3f, -0x1.588e82p-2f, 0x1.d95e5ep+0f, 0x1.936c4cp+0f}},
  };
  return all;
}

}  // namespace support
