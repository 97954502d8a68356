// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Noise by identity: every field of the key and of the id names another stream.

#include "tempflow/core/noise.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/statistics.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/fill_noise.hpp"

using tempflow::index_t;
using tempflow::noise_id;
using tempflow::noise_key;

namespace {

constexpr noise_key key{.seed = 5, .update = 6};
constexpr noise_id id{.prompt = 10, .seed = 11, .step = 12, .branch = 13};

std::vector<float> draw(noise_key from, noise_id who, index_t blocks) {
  std::vector<float> values;
  for (index_t block = 0; block < blocks; ++block) {
    const auto four = tempflow::noise_block(from, who, block);
    values.insert(values.end(), std::begin(four.value), std::end(four.value));
  }
  return values;
}

struct stream {
  const char* changed;
  noise_key from;
  noise_id who;
};

std::vector<stream> neighbours() {
  return {{"key.seed", {.seed = 6, .update = 6}, id},
          {"key.update", {.seed = 5, .update = 7}, id},
          {"prompt", key, {.prompt = 11, .seed = 11, .step = 12, .branch = 13}},
          {"seed", key, {.prompt = 10, .seed = 12, .step = 12, .branch = 13}},
          {"step", key, {.prompt = 10, .seed = 11, .step = 13, .branch = 13}},
          {"branch", key, {.prompt = 10, .seed = 11, .step = 12, .branch = 14}},
          {"seed and prompt exchanged", key, {.prompt = 11, .seed = 10, .step = 12, .branch = 13}},
          {"step and branch exchanged", key, {.prompt = 10, .seed = 11, .step = 13, .branch = 12}},
          {"seed and update exchanged", {.seed = 6, .update = 5}, id}};
}

}  // namespace

TEST_CASE("the same identity draws the same noise", "[noise]") {
  CHECK(draw(key, id, 64) == draw(key, id, 64));
}

TEST_CASE("another key, prompt, seed, step or branch draws independent noise", "[noise]") {
  const auto base = draw(key, id, 1 << 14);
  for (const auto& other : neighbours()) {
    const auto drawn = draw(other.from, other.who, 1 << 14);
    std::size_t equal = 0;
    for (std::size_t i = 0; i < base.size(); ++i) equal += base[i] == drawn[i] ? 1u : 0u;
    INFO(other.changed);
    CHECK(equal < 10);  // chance: 65,536 draws of about 2^25 likely values
    CHECK(std::abs(support::correlation_z<float>(base, drawn)) < 4);
  }
}

TEST_CASE("every bit of a branch and of a step counts, and none of one is one of the other", "[noise]") {
  std::set<float> first;
  const auto add = [&first](std::uint16_t step, std::uint16_t branch) {
    first.insert(tempflow::noise_block(key, {.step = step, .branch = branch}, 0).value[0]);
  };
  add(0, 0);
  for (unsigned bit = 0; bit < 16; ++bit) {
    const auto flag = static_cast<std::uint16_t>(1u << bit);
    add(flag, 0);
    add(0, flag);
  }
  CHECK(first.size() == 33);
}

TEST_CASE("every bit of prompt, seed, key and block counts", "[noise]") {
  std::set<float> first;
  const auto add = [&first](noise_key from, noise_id who, index_t block) {
    first.insert(tempflow::noise_block(from, who, block).value[0]);
  };
  add({}, {}, 0);
  for (unsigned bit = 0; bit < 32; ++bit) {
    const std::uint32_t flag = 1u << bit;
    add({.seed = flag}, {}, 0);
    add({.update = flag}, {}, 0);
    add({}, {.prompt = flag}, 0);
    add({}, {.seed = flag}, 0);
    add({}, {}, index_t{flag});
  }
  CHECK(first.size() == 1 + 5 * 32);
}

TEMPLATE_TEST_CASE("fill_noise writes the normals of each row's identity, whatever the row's length",
                   "[noise]", tempflow::reference_backend, tempflow::cpu_backend) {
  const std::vector<noise_id> ids{{.prompt = 1}, {.prompt = 2}, {.prompt = 1, .branch = 3}};
  for (const index_t columns : {1, 2, 3, 4, 5, 1023, 1024, 1025}) {
    tempflow::batch_buffer<float> noise(3, columns);
    tempflow::fill_noise(TestType{}, {key, ids}, noise.view());
    for (index_t row = 0; row < 3; ++row) {
      auto expected = draw(key, ids[static_cast<std::size_t>(row)], columns / 4 + 1);
      expected.resize(static_cast<std::size_t>(columns));
      const float* const written = noise.view().row(row);
      INFO("row " << row << " of " << columns << " columns");
      CHECK(std::vector<float>(written, written + columns) == expected);
    }
  }
}

TEST_CASE("a table of integers is a table of noise ids, and back", "[noise]") {
  const noise_id id{.prompt = 0xfedcba98, .seed = 0x76543210, .step = 0x1234, .branch = 0xabcd};
  constexpr tempflow::packed_noise_id words{0xfedcba98, 0x76543210, 0xabcd1234};
  CHECK(tempflow::pack(id) == words);
  static_assert(tempflow::unpack(words).step == 0x1234 && tempflow::unpack(words).branch == 0xabcd);
  std::vector<std::uint32_t> table;
  std::vector<noise_id> ids;
  for (unsigned bit = 0; bit < 32; ++bit) {
    for (unsigned word = 0; word < 3; ++word) {
      tempflow::packed_noise_id row{7, 11, 13 | 17 << 16};
      row[word] ^= 1u << bit;
      table.insert(table.end(), row.begin(), row.end());
      ids.push_back(tempflow::unpack(row));
      CHECK(tempflow::pack(ids.back()) == row);
    }
  }
  if constexpr (std::endian::native == std::endian::little) {
    std::vector<noise_id> copied(ids.size());
    std::memcpy(static_cast<void*>(copied.data()), table.data(), table.size() * sizeof(std::uint32_t));
    CHECK(copied == ids);
    std::vector<std::uint32_t> back(table.size());
    std::memcpy(back.data(), ids.data(), ids.size() * sizeof(noise_id));
    CHECK(back == table);
  }
}

TEST_CASE("fill_noise rounds fp32 normals to the storage type", "[noise]") {
  tempflow::batch_buffer<float> exact(1, 100);
  tempflow::batch_buffer<double> wide(1, 100);
  tempflow::batch_buffer<tempflow::bfloat16> narrow(1, 100);
  const tempflow::reference_backend backend;
  tempflow::fill_noise(backend, {key, id}, exact.view());
  tempflow::fill_noise(backend, {key, id}, wide.view());
  tempflow::fill_noise(backend, {key, id}, narrow.view());
  int wrong = 0;
  for (index_t e = 0; e < 100; ++e) {
    const float z = exact.view().row(0)[e];
    wrong += wide.view().row(0)[e] == static_cast<double>(z) ? 0 : 1;
    wrong += narrow.view().row(0)[e] == tempflow::store<tempflow::bfloat16>(z) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("rows of any length hold the noise of their blocks, in all instruction sets", "[noise]",
                   float, double, tempflow::bfloat16) {
  const auto instructions = GENERATE(tempflow::instruction_set::portable, tempflow::instruction_set::avx2,
                                     tempflow::instruction_set::avx512);
  const tempflow::cpu_backend cpu(1, instructions);
  for (const index_t columns : {1, 3, 4, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 1025, 1279, 1280}) {
    tempflow::batch_buffer<TestType> row(1, columns);
    tempflow::fill_noise(cpu, {key, id}, row.view());
    int wrong = 0;
    for (index_t e = 0; e < columns; ++e) {
      const float normal = tempflow::noise_block(key, id, e / 4).value[e % 4];
      wrong +=
          tempflow::load(row.view().data()[e]) == tempflow::load(tempflow::store<TestType>(normal)) ? 0 : 1;
    }
    INFO(columns << " elements, " << to_string(instructions));
    CHECK(wrong == 0);
  }
}
