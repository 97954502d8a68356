// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What a seed, an update and an id draw, literally: these bits are a promise.

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/noise_literals.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/fill_noise.hpp"

using tempflow::index_t;
using tempflow::instruction_set;

namespace {

// fill_noise writes the literals that its rows are long enough for.
template <class B>
void check_fill_noise(const B& backend) {
  for (const auto& noise : support::literal_noises()) {
    if (noise.block > 1000) continue;
    tempflow::batch_buffer<float> row(1, 4 * noise.block + 4);
    tempflow::fill_noise(backend, {noise.key, noise.id}, row.view());
    const float* const last = row.view().row(0) + 4 * noise.block;
    INFO("block " << noise.block << " of step " << noise.id.step);
    CHECK(std::vector<float>(last, last + 4) == noise.normals);
  }
}

// The last elements of the longest row, 2^34 of them, in the registers of an instruction set.
struct last_elements {
  using kernel_tag = tempflow::detail::kernel;

  const support::literal_noise& noise;
  float* out;

  double nanoseconds() const { return 1; }

  template <class Instructions = tempflow::detail::compiled_for_any>
  TEMPFLOW_INLINE_HOST void operator()(index_t, Instructions = {}) const {
    constexpr int count = tempflow::detail::noise_chunk;
    float normals[count];
    tempflow::detail::write_noise<Instructions::value>(noise.key, noise.id, (index_t{1} << 34) - count, count,
                                                       normals);
    std::copy_n(normals + count - 4, 4, out);
  }
};

}  // namespace

TEST_CASE("an identity draws the same bits for ever", "[noise]") {
  for (const auto& [key, id, block, normals] : support::literal_noises()) {
    INFO("prompt " << id.prompt << ", seed " << id.seed << ", step " << id.step << ", branch " << id.branch
                   << ", block " << block);
    const auto drawn = tempflow::noise_block(key, id, block);
    CHECK(std::vector<float>(std::begin(drawn.value), std::end(drawn.value)) == normals);
  }
}

TEST_CASE("an identity is Philox's counter as it is documented", "[noise]") {
  for (const auto& [key, id, block, normals] : support::literal_noises()) {
    const auto words =
        tempflow::philox4x32({{static_cast<std::uint32_t>(block),
                               static_cast<std::uint32_t>(id.branch * 65536 + id.step), id.seed, id.prompt}},
                             {{key.seed, key.update}});
    const double u = ((words.word[0] >> 1) | 1u) * 0x1p-31, turn = words.word[1] * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * std::numbers::pi * turn;
    CHECK(std::abs(normals[0] - radius * std::cos(angle)) < 1.5e-6);  // core/normal.hpp
    CHECK(std::abs(normals[1] - radius * std::sin(angle)) < 1.5e-6);
  }
}

TEST_CASE("fill_noise writes these bits", "[noise]") {
  check_fill_noise(tempflow::reference_backend{});
  for (const auto instructions :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    INFO(to_string(instructions));
    check_fill_noise(tempflow::cpu_backend(1, instructions));
  }
}

TEST_CASE("a row's noise reaches up to element 2^34 in all instruction sets", "[noise]") {
  const auto& noise = support::literal_noises().back();
  REQUIRE(noise.block == 0xffffffff);
  for (const auto instructions :
       {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
    std::vector<float> last(4);
    tempflow::cpu_backend(1, instructions).for_each_index(1, last_elements{noise, last.data()});
    INFO(to_string(instructions));
    CHECK(last == noise.normals);
  }
}

TEST_CASE("a choice draws the same number for ever", "[noise]") {
  // The first two words of Philox for the counter (5, 0xfffe, 0, 0) and the key (42, 3), computed as above.
  CHECK(tempflow::uniform_choice({.seed = 42, .update = 3}, 5, 1000003) == 38676);
  CHECK(tempflow::uniform_choice({.seed = 42, .update = 3}, 5, 0xffffffffffffffff) == 0x5453213c302d164d);
}
