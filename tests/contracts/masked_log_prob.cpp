// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Log-probs of the elements that a mask counts: the mean over these alone, whatever the others hold.

#include <cmath>
#include <cstdint>
#include <numbers>
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

using support::mask_bytes;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::element_mask;
using tempflow::float16;
using tempflow::index_t;
using tempflow::instruction_set;
using tempflow::log_prob_convention;
using tempflow::log_prob_reduction;
using tempflow::log_prob_terms;

namespace {

template <class T, class V = T>
struct problem {
  batch_buffer<T> x, y;
  batch_buffer<V> v;
  std::vector<tempflow::transition> steps;

  problem(index_t rows, index_t columns)
      : x(support::random_batch<T>(rows, columns, 1)),
        y(support::random_batch<T>(rows, columns, 2)),
        v(support::random_batch<V>(rows, columns, 3)),
        steps(support::mixed_transitions(rows)) {}

  template <class B>
  std::vector<double> score(const B& backend, element_mask mask = {},
                            log_prob_convention convention = {}) const {
    std::vector<double> log_probs(steps.size(), 77.0);
    tempflow::log_prob(backend, x, v, y, steps, log_probs, convention, mask);
    return log_probs;
  }

  problem poisoned(const mask_bytes& mask) const {
    problem other = *this;
    other.x = support::poisoned(x, mask), other.y = support::poisoned(y, mask),
    other.v = support::poisoned(v, mask);
    return other;
  }

  /// By the formula, in double.
  double expected(index_t i, const mask_bytes& mask, log_prob_convention convention) const {
    const auto& step = steps[static_cast<std::size_t>(i)];
    double sum = 0, counted = 0;
    for (index_t e = 0; e < x.columns(); ++e) {
      if (!mask.counts(i, e)) continue;
      const double r = support::value_of(y.view().row(i)[e]) -
                       step.alpha * support::value_of(x.view().row(i)[e]) -
                       step.beta * support::value_of(v.view().row(i)[e]);
      sum += r * r, counted += 1;
    }
    const double times = convention.reduction == log_prob_reduction::mean ? 1 : counted;
    if (convention.terms == log_prob_terms::squared_error) return -sum * times / counted;
    const double constant = convention.terms == log_prob_terms::all
                                ? std::log(step.std) + 0.5 * std::log(2 * std::numbers::pi)
                                : 0;
    return times * (-sum / counted / (2 * step.std * step.std) - constant);
  }
};

const instruction_set all_instructions[] = {instruction_set::portable, instruction_set::avx2,
                                            instruction_set::avx512};

std::vector<std::uint8_t> ones(index_t count) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
  for (std::size_t e = 0; e < bytes.size(); ++e) bytes[e] = static_cast<std::uint8_t>(1 + e % 255);
  return bytes;
}

}  // namespace

TEMPLATE_TEST_CASE("a mask that leaves nothing out gives the bits of none", "[mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>),
                   (std::pair<bfloat16, float>)) {
  for (const index_t columns : {1, 31, 33, 1024, 4099}) {
    const problem<typename TestType::first_type, typename TestType::second_type> given(5, columns);
    const auto bytes = ones(5 * columns);
    const element_mask each(bytes.data(), 5, columns), shared(bytes.data(), 1, columns);
    for (const auto instructions : all_instructions) {
      const cpu_backend cpu(1, instructions);
      const auto expected = given.score(cpu);
      CHECK(support::same_bits(given.score(cpu, each), expected));
      CHECK(support::same_bits(given.score(cpu, shared), expected));
    }
    const tempflow::reference_backend oracle;
    CHECK(support::same_bits(given.score(oracle, each), given.score(oracle)));
  }
}

TEMPLATE_TEST_CASE("a masked log-prob is that of the elements that count, in every convention", "[mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  for (const index_t columns : {1, 33, 5000}) {
    const problem<T, typename TestType::second_type> given(5, columns);
    const mask_bytes each(5, columns, 4), shared(1, columns, 5);
    for (const auto* mask : {&each, &shared}) {
      const auto holes = given.poisoned(*mask);
      for (const auto reduction : {log_prob_reduction::mean, log_prob_reduction::sum}) {
        for (const auto terms :
             {log_prob_terms::all, log_prob_terms::without_constants, log_prob_terms::squared_error}) {
          const log_prob_convention convention{reduction, terms};
          const auto exact = holes.score(tempflow::reference_backend{}, *mask, convention),
                     found = holes.score(cpu_backend(1), *mask, convention);
          for (index_t i = 0; i < 5; ++i) {
            const double expected = given.expected(i, *mask, convention);
            const auto row = static_cast<std::size_t>(i);
            CHECK(exact[row] == Catch::Approx(expected).epsilon(1e-12));
            CHECK(found[row] == Catch::Approx(expected).epsilon(2e-5));
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("what is left out may hold anything, and bits depend on the row alone", "[mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>),
                   (std::pair<bfloat16, float>)) {
  constexpr index_t rows = 6, columns = 40003;
  const problem<typename TestType::first_type, typename TestType::second_type> given(rows, columns);
  const mask_bytes mask(rows, columns, 6);
  const auto expected = given.score(cpu_backend(1, instruction_set::portable), mask);
  const auto holes = given.poisoned(mask);
  for (const auto instructions : all_instructions) {
    for (const int threads : {1, 3, 8}) {  // more than rows: these are cut into parts
      CHECK(support::same_bits(holes.score(cpu_backend(threads, instructions), mask), expected));
    }
  }
  for (index_t i = 0; i < rows; ++i) {
    double alone = 77;
    tempflow::log_prob(cpu_backend(1), given.x.view().slice(i, 1), given.v.view().slice(i, 1),
                       given.y.view().slice(i, 1), given.steps[static_cast<std::size_t>(i)],
                       std::span(&alone, 1), {}, element_mask(mask.bytes().data() + i * columns, 1, columns));
    CHECK(alone == expected[static_cast<std::size_t>(i)]);
  }
}

TEST_CASE("16-bit velocities of fp32 states under a mask are those numbers in fp32", "[mask]") {
  const problem<float, bfloat16> mixed(3, 2051);
  problem<float> wide(3, 2051);
  wide.x = mixed.x, wide.y = mixed.y;
  for (index_t e = 0; e < 3 * 2051; ++e) wide.v.view().data()[e] = tempflow::load(mixed.v.view().data()[e]);
  const mask_bytes mask(3, 2051, 7);
  CHECK(support::same_bits(mixed.score(cpu_backend(1), mask), wide.score(cpu_backend(1), mask)));
}

TEST_CASE("siblings share the mask of their state", "[mask][siblings]") {
  const cpu_backend cpu(2);
  const support::sibling_problem<float> given(cpu, 2051);
  const auto total = static_cast<std::size_t>(given.total());
  const mask_bytes each(given.states(), 2051, 8), shared(1, 2051, 9);
  for (const auto* mask : {&each, &shared}) {
    std::vector<double> found(total, 77.0), expected(total, 78.0);
    auto batch = given.batch();
    const auto x = support::poisoned(given.x, *mask);
    batch.x = x.view(), batch.mask = *mask;
    tempflow::log_prob(cpu, batch, given.v, found);
    for (index_t s = 0, row = 0; s < given.states(); ++s) {
      for (index_t k = 0; k < given.counts[static_cast<std::size_t>(s)]; ++k, ++row) {
        const element_mask own(mask->view().row(s), 1, 2051);
        tempflow::log_prob(cpu, given.x.view().slice(s, 1), given.v.view().slice(s, 1),
                           given.rows.y.view().slice(row, 1), given.steps[static_cast<std::size_t>(s)],
                           std::span(expected).subspan(static_cast<std::size_t>(row), 1), {}, own);
      }
    }
    CHECK(support::same_bits(found, expected));
  }
}

TEST_CASE("masks are bytes, bools, and rows apart", "[mask]") {
  const problem<float> given(2, 70);
  const mask_bytes mask(2, 70, 10);
  bool bools[140];
  std::vector<std::uint8_t> apart(200, 1);
  for (index_t e = 0; e < 140; ++e) {
    bools[e] = mask.counts(e / 70, e % 70);
    apart[static_cast<std::size_t>(e / 70 * 101 + e % 70)] = bools[e] ? 1 : 0;
  }
  const auto expected = given.score(cpu_backend(1), mask);
  CHECK(support::same_bits(given.score(cpu_backend(1), element_mask(bools, 2, 70)), expected));
  CHECK(support::same_bits(given.score(cpu_backend(1), element_mask(apart.data(), 2, 70, 101)), expected));
}

TEST_CASE("a mask counts its elements", "[mask]") {
  for (const index_t columns : {1, 7, 8, 9, 63, 64, 65, 2040, 2047, 2048, 10007}) {
    const mask_bytes mask(4, columns, 11);
    for (index_t i = 0; i < 4; ++i) {
      index_t counted = 0;
      for (index_t e = 0; e < columns; ++e) counted += mask.counts(i, e) ? 1 : 0;
      CHECK(mask.view().count(i) == counted);
    }
    const auto all = ones(columns);
    CHECK(element_mask(all.data(), 1, columns).count(3) == columns);
    for (const index_t at : {index_t{0}, columns / 2, columns - 1}) {
      std::vector<std::uint8_t> one(static_cast<std::size_t>(columns));
      CHECK_FALSE(tempflow::detail::any_byte(one.data(), columns));
      one[static_cast<std::size_t>(at)] = 64;
      CHECK(tempflow::detail::any_byte(one.data(), columns));
      CHECK(element_mask(one.data(), 1, columns).count(0) == 1);
    }
  }
}

TEST_CASE("masks that do not fit are errors, and nothing is written", "[mask]") {
  using support::check_throws;
  using tempflow::shape_error;
  const problem<float> given(3, 80);
  std::vector<double> log_probs(3, 77.0);
  const support::unchanged scores{std::span<double>(log_probs)};
  const auto score = [&](element_mask mask) {
    tempflow::log_prob(cpu_backend(1), given.x, given.v, given.y, given.steps, log_probs, {}, mask);
  };
  std::vector<std::uint8_t> bytes(400, 1);
  check_throws<shape_error>(
      [&] {
        score({bytes.data(), 3, 79});
      },
      {"log_prob: mask is 3 x 79, expected 3 x 80 (or one row for all states)"});
  check_throws<shape_error>([&] { score({bytes.data(), 2, 80}); }, {"mask is 2 x 80, expected 3 x 80"});
  check_throws<shape_error>([&] { score({bytes.data(), 0, 80}); }, {"mask is 0 x 80"});
  for (index_t e = 80; e < 160; ++e) bytes[static_cast<std::size_t>(e)] = 0;
  check_throws<tempflow::value_error>(
      [&] {
        score({bytes.data(), 3, 80});
      },
      {"log_prob: row 1 of the mask counts none of its 80 elements"});
  check_throws<tempflow::value_error>([&] { score({bytes.data() + 80, 1, 80}); }, {"row 0 of the mask"});
  check_throws<shape_error>([&] { element_mask(bytes.data(), -1, 80); },
                            {"element_mask: -1 rows of 80 elements"});
  check_throws<shape_error>([&] { element_mask(bytes.data(), 2, 80, 79); }, {"79 apart"});
  check_throws<shape_error>([&] { element_mask(static_cast<const bool*>(nullptr), 2, 80); },
                            {"element_mask: null pointer for 2 x 80"});
  CHECK(bool(scores));
}
