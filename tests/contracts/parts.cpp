// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Parts of rows: slices of batches with the noise of the whole row, and transitions and log-probs of their own.

#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/masks.hpp"
#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "support/sibling_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/parts.hpp"

using support::check_throws;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::instruction_set;
using tempflow::noise_source;
using tempflow::sample_part;
using tempflow::sample_parts;
using tempflow::shape_error;

namespace {

constexpr index_t rows = 3, columns = 2051;

// Shards of such rows, of which the second begins within a register and a tile.
const std::vector<sample_part> shards{{0, 340}, {340, 1104}, {1444, columns - 1444}};

using part_steps = std::vector<tempflow::per_row<tempflow::transition>>;

}  // namespace

TEMPLATE_TEST_CASE("shards of rows have the noise of the whole rows", "[noise][parts]", float, double,
                   bfloat16, float16) {
  const auto ids = support::mixed_ids(rows);
  const auto steps = support::mixed_transitions(rows);
  const auto x = support::random_batch<TestType>(rows, columns, 1),
             v = support::random_batch<TestType>(rows, columns, 2);
  for (const index_t offset : {index_t{0}, index_t{4}, (index_t{1} << 34) - columns - 1}) {
    for (const bool antithetic : {false, true}) {
      for (const auto instructions :
           {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
        const cpu_backend cpu(1, instructions);
        const noise_source noise(support::test_key, ids, antithetic, offset);
        batch_buffer<TestType> whole(rows, columns), z(rows, columns), y(rows, columns),
            in_shards(rows, columns), branches(rows * 3, columns), of_shards(rows * 3, columns);
        std::vector<double> fan(rows * 3);
        tempflow::fill_noise(cpu, noise, whole);
        tempflow::step(cpu, x, v, steps, noise, y, {});
        tempflow::branch_step(cpu, x, v, {}, steps, noise, {}, branches.view(), fan);
        for (const auto [first, count] : shards) {
          const auto part = noise.part_from(first);
          tempflow::fill_noise(cpu, part, z.view().columns(first, count));
          tempflow::step(cpu, x.view().columns(first, count), v.view().columns(first, count), steps, part,
                         in_shards.view().columns(first, count), {});
          tempflow::branch_step(cpu, x.view().columns(first, count), v.view().columns(first, count), {},
                                steps, part, {}, of_shards.view().columns(first, count), fan);
        }
        CHECK(support::same_bits(z, whole));
        CHECK(support::same_bits(in_shards, y));
        CHECK(support::same_bits(of_shards, branches));
      }
    }
  }
}

TEST_CASE("the noise of an offset is that of later elements", "[noise][parts]") {
  const auto ids = support::mixed_ids(rows);
  batch_buffer<float> whole(rows, 4096), part(rows, 1000);
  for (const index_t first : {4, 1020, 3096}) {
    tempflow::fill_noise(cpu_backend(1), {support::test_key, ids}, whole.view());
    tempflow::fill_noise(tempflow::reference_backend{}, noise_source(support::test_key, ids, false, first),
                         part.view());
    CHECK(support::same_bits(part.view(), whole.view().columns(first, 1000)));
  }
}

TEMPLATE_TEST_CASE("losses drawn again in shards have the gradients of what the shards drew",
                   "[noise][parts]", float, bfloat16) {
  const cpu_backend cpu(1);
  support::sibling_problem<TestType> whole(cpu, columns);
  whole.draw(cpu, true);
  const tempflow::clipped_grpo objective{.clip = {1e6, 1e6}};
  const auto gradient_of = [&](const auto& batch, index_t first, index_t count, double scale) {
    auto scaled = batch;
    scaled.gradient_scale = scale;
    batch_buffer<TestType> gradient(whole.states(), count);
    tempflow::policy_loss(cpu, scaled, whole.v.view().columns(first, count), {}, objective, gradient.view());
    return gradient;
  };
  // The slope is over the elements of the batch: a power of two makes up for that exactly.
  const index_t half = 1024;
  const auto all = gradient_of(whole.drawn_again(), 0, 2 * half, 2);
  for (const index_t first : {index_t{0}, half}) {
    auto batch = whole.drawn_again();
    batch.drawn = batch.drawn->part_from(first);
    const auto part = gradient_of(batch, first, half, 1);
    CHECK(support::same_bits(part.view(), std::as_const(all).view().columns(first, half)));
  }
}

TEST_CASE("noise that begins where none does is an error", "[noise][parts]") {
  auto y = support::random_batch<float>(rows, 100, 1);
  const support::unchanged next(y);
  const auto ids = support::mixed_ids(rows);
  const auto fill = [&](index_t first) {
    tempflow::fill_noise(cpu_backend(1), noise_source(support::test_key, ids, false, first), y.view());
  };
  check_throws<tempflow::value_error>([&] { fill(2); },
                                      {"fill_noise: the noise begins at element 2", "multiple of 4"});
  check_throws<tempflow::value_error>([&] { fill(-4); }, {"the noise begins at element -4"});
  check_throws<shape_error>([&] { fill((index_t{1} << 34) - 96); },
                            {"fill_noise: 100 elements per row from element 17179869088", "at most 2^34"});
  check_throws<shape_error>([&] { fill((index_t{1} << 62)); }, {"at most 2^34"});
  CHECK(bool(next));
}

TEST_CASE("columns of a batch are a batch", "[parts]") {
  auto batch = support::random_batch<float>(3, 10, 1);
  const auto part = batch.view().columns(4, 5);
  CHECK((part.rows() == 3 && part.columns() == 5 && part.row_stride() == 10));
  CHECK((part.row(0) == batch.view().row(0) + 4 && part.row(2) == batch.view().row(2) + 4));
  CHECK(batch.view().columns(10, 0).empty());
  CHECK(batch_view<float>().columns(0, 0).data() == nullptr);
  check_throws<shape_error>([&] { batch.view().columns(6, 5); },
                            {"batch_view: 5 columns from column 6 of 10"});
  check_throws<shape_error>([&] { batch.view().columns(-1, 5); }, {"from column -1"});
  check_throws<shape_error>([&] { batch.view().columns(1, -5); }, {"-5 columns"});
  const support::mask_bytes mask(3, 10, 2);
  CHECK(mask.view().columns(4, 5).row(1) == mask.view().row(1) + 4);
  CHECK_FALSE(tempflow::element_mask().columns(4, 5).given());
  check_throws<shape_error>([&] { mask.view().columns(6, 5); },
                            {"element_mask: 5 columns from column 6 of 10"});
}

TEST_CASE("parts are in a row, in order, and apart", "[parts]") {
  const auto make = [](std::vector<sample_part> parts) { return sample_parts(std::move(parts), 12); };
  CHECK(make({{0, 4}, {4, 2}, {8, 4}}).size() == 3);
  check_throws<shape_error>([&] { make({}); }, {"sample_parts: no parts"});
  check_throws<shape_error>(
      [&] {
        make({{0, 4}, {4, 0}});
      },
      {"part 1, 0 elements from element 4 on, is empty"});
  check_throws<shape_error>(
      [&] {
        make({{0, 4}, {8, 5}});
      },
      {"part 1, 5 elements from element 8 on, is not in a row of 12"});
  check_throws<shape_error>([&] { make({{-4, 4}}); }, {"part 0", "is not in a row of 12"});
  check_throws<shape_error>([&] { make({{0, 13}}); }, {"part 0, 13 elements", "is not in a row of 12"});
  check_throws<shape_error>(
      [&] {
        make({{0, 5}, {4, 4}});
      },
      {"part 1", "begins before the end of part 0 at element 5"});
  check_throws<shape_error>(
      [&] {
        make({{8, 4}, {0, 4}});
      },
      {"part 1", "begins before the end of part 0 at element 12"});
  const sample_parts chunk = tempflow::equal_parts(3, 12);
  CHECK((chunk.size() == 3 && chunk[0] == sample_part{0, 4} && chunk[2] == sample_part{8, 4}));
  check_throws<shape_error>([&] { tempflow::equal_parts(5, 12); }, {"equal_parts: 5 parts of a row of 12"});
  check_throws<shape_error>([&] { tempflow::equal_parts(0, 12); }, {"equal_parts: 0 parts"});
}

TEMPLATE_TEST_CASE("parts step by their own transitions, with the noise of the whole", "[parts]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  const auto x = support::random_batch<T>(rows, columns, 1);
  const auto v = support::random_batch<V>(rows, columns, 2);
  const auto steps = support::mixed_transitions(rows + 1);
  const std::vector<tempflow::transition> each(steps.begin() + 1, steps.end());
  const auto ids = support::mixed_ids(rows);
  const noise_source noise(support::test_key, ids, true, 16);
  const sample_parts parts({{0, 1028}, {1032, 1019}}, columns);  // four elements are in no part
  const part_steps of_parts{steps[0], each};
  const support::mask_bytes mask(rows, columns, 3);
  const tempflow::element_mask masks[] = {{}, mask};
  for (const auto& given : masks) {
    for (const int threads : {1, 8}) {
      const cpu_backend cpu(threads);
      auto y = support::random_batch<T>(rows, columns, 4), expected = y;
      std::vector<double> found(2 * rows, 77.0), alone(2 * rows, 78.0), scored(2 * rows, 79.0);
      tempflow::step_parts(cpu, x, v, parts, of_parts, noise, y, found, {}, given);
      for (std::size_t p = 0; p < 2; ++p) {
        const auto [first, count] = parts[p];
        tempflow::step(cpu, x.view().columns(first, count), v.view().columns(first, count), of_parts[p],
                       noise_source(support::test_key, ids, true, 16 + first),
                       expected.view().columns(first, count), std::span(alone).subspan(p * rows, rows), {},
                       given.columns(first, count));
      }
      CHECK(support::same_bits(y, expected));
      CHECK(support::same_bits(found, alone));
      tempflow::log_prob_parts(cpu, x, v, y, parts, of_parts, scored, {}, given);
      CHECK(support::same_bits(found, scored));
      auto unscored = support::random_batch<T>(rows, columns, 4);
      tempflow::step_parts(cpu, x, v, parts, of_parts, noise, unscored, {}, {}, given);
      CHECK(support::same_bits(unscored, y));
    }
  }
}

TEST_CASE("the joint log-prob of parts is that of the sample", "[parts]") {
  const auto x = support::random_batch<double>(rows, columns, 1),
             y = support::random_batch<double>(rows, columns, 2),
             v = support::random_batch<double>(rows, columns, 3);
  const auto steps = support::mixed_transitions(rows);
  const sample_parts parts(shards, columns);
  std::vector<double> of_parts(3 * rows), joint(rows), whole(rows), weights;
  for (const auto part : parts) weights.push_back(static_cast<double>(part.count) / columns);
  tempflow::log_prob_parts(cpu_backend(1), x, v, y, parts, part_steps(3, steps), of_parts);
  tempflow::joint_log_probs(of_parts, weights, joint);
  tempflow::log_prob(cpu_backend(1), x, v, y, steps, whole);
  for (std::size_t i = 0; i < whole.size(); ++i) CHECK(joint[i] == Catch::Approx(whole[i]).epsilon(1e-13));

  const std::vector<double> numbers{1, 2, 3, 4};
  std::vector<double> pair(2);
  tempflow::joint_log_probs(numbers, std::vector<double>{0.5, 2}, pair);
  CHECK((pair[0] == 6.5 && pair[1] == 9));
  const support::unchanged sums{std::span<double>(pair)};
  check_throws<shape_error>([&] { tempflow::joint_log_probs(numbers, std::vector<double>{1}, pair); },
                            {"joint_log_probs: log_probs has 4 entries, expected 2"});
  check_throws<tempflow::value_error>(
      [&] {
        tempflow::joint_log_probs(numbers, std::vector<double>{1, NAN}, pair);
      },
      {"joint_log_probs: weights[1] = "});
  CHECK(bool(sums));
}

TEST_CASE("parts that do not fit are errors that name them, and nothing is written", "[parts]") {
  const cpu_backend cpu(1);
  const auto x = support::random_batch<float>(rows, 100, 1), v = support::random_batch<float>(rows, 100, 2);
  auto y = support::random_batch<float>(rows, 100, 3);
  std::vector<double> log_probs(2 * rows, 77);
  const support::unchanged next(y), scores(std::span<double>{log_probs});
  const auto ids = support::mixed_ids(rows);
  const auto steps = support::mixed_transitions(rows);
  const sample_parts parts({{0, 40}, {40, 60}}, 100), unaligned({{0, 42}, {42, 58}}, 100),
      wider({{0, 40}}, 104);
  const auto fewer = support::mixed_transitions(2);
  const part_steps good(2, steps), deterministic{steps, tempflow::transition{}}, few(2, fewer);
  const auto both = [&](const sample_parts& of, const part_steps& by, auto error, const std::string& text,
                        tempflow::element_mask mask = {}) {
    using error_type = decltype(error);
    check_throws<error_type>(
        [&] {
          tempflow::step_parts(cpu, x, v, of, by, {support::test_key, ids}, y, log_probs, {}, mask);
        },
        {"step_parts" + text});
    check_throws<error_type>([&] { tempflow::log_prob_parts(cpu, x, v, y, of, by, log_probs, {}, mask); },
                             {"log_prob_parts" + text});
  };
  both(parts, deterministic, tempflow::schedule_error(""), ", part 1: the transition of row 0");
  both(parts, few, shape_error(""), ", part 0: transitions has 2 entries, expected 3");
  both(parts, part_steps(1, steps), shape_error(""), ": transitions has 1 entries, expected 2");
  both(wider, part_steps(1, steps), shape_error(""), ": the parts are of rows of 104 elements, x has 100");
  support::mask_bytes mask(1, 100, 4);
  for (index_t e = 40; e < 100; ++e) mask.at(0, e) = 0;
  mask.at(0, 0) = 1;
  both(parts, good, tempflow::value_error(""), ", part 1: row 0 of the mask counts none of its 60", mask);
  check_throws<tempflow::value_error>(
      [&] {
        tempflow::step_parts(cpu, x, v, unaligned, good, {support::test_key, ids}, y, log_probs);
      },
      {"step_parts, part 1: the noise begins at element 42, must be a multiple of 4"});
  check_throws<shape_error>(
      [&] {
        tempflow::step_parts(cpu, x, v, parts, good, {support::test_key, ids}, y,
                             std::span(log_probs).first(5));
      },
      {"step_parts: log_probs has 5 entries, expected 6"});
  CHECK((next && scores));
}
