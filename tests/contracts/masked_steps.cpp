// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Steps under a mask: what it leaves out stays as x has it, what counts is drawn as without it, and is scored alone.

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/masks.hpp"
#include "support/outputs.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/put_back.hpp"

using support::mask_bytes;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::element_mask;
using tempflow::float16;
using tempflow::index_t;
using tempflow::instruction_set;

namespace {

constexpr index_t rows = 4, explorations = 3;

template <class T>
bool same_element(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

/// Elements of y that are not x's where the mask leaves them out, or not those drawn without it where they count.
template <class T>
int wrong_elements(const batch_buffer<T>& y, const batch_buffer<T>& x, const batch_buffer<T>& drawn,
                   const mask_bytes& mask) {
  const index_t per_state = y.rows() / x.rows();
  int wrong = 0;
  for (index_t i = 0; i < y.rows(); ++i) {
    for (index_t e = 0; e < y.columns(); ++e) {
      const index_t state = i / per_state;
      const T& expected = mask.counts(state, e) ? drawn.view().row(i)[e] : x.view().row(state)[e];
      wrong += same_element(y.view().row(i)[e], expected) ? 0 : 1;
    }
  }
  return wrong;
}

template <class T, class V, class B>
void check_steps(const B& backend, index_t columns, bool shared) {
  const mask_bytes mask(shared ? 1 : rows, columns, 4);
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  const auto clean = support::random_batch<T>(rows, columns, 1), x = support::poisoned(clean, mask);
  const auto v = support::poisoned(support::random_batch<V>(rows, columns, 2), mask);
  batch_buffer<T> y(rows, columns), drawn(rows, columns), branches(rows * explorations, columns),
      all(rows * explorations, columns), trunk(rows, columns), mean(rows, columns);
  const tempflow::noise_source noise(support::test_key, ids, true, 8);
  std::vector<double> found(rows, 77.0), scored(rows, 78.0), fan(rows * explorations, 77.0);

  tempflow::step(backend, x, v, steps, noise, y, found, {}, mask);
  tempflow::step(backend, x, v, steps, noise, drawn, {});
  CHECK(wrong_elements(y, x, drawn, mask) == 0);
  tempflow::log_prob(backend, x, v, y, steps, scored, {}, mask);
  CHECK(support::same_bits(found, scored));
  batch_buffer<T> unscored(rows, columns);
  tempflow::step(backend, x, v, steps, noise, unscored, {}, {}, mask);
  CHECK(support::same_bits(unscored, y));

  tempflow::ode_step(backend, x, v, steps, mean, mask);
  tempflow::ode_step(backend, x, v, steps, drawn);
  CHECK(wrong_elements(mean, x, drawn, mask) == 0);

  tempflow::branch_step(backend, x, v, steps, steps, noise, trunk, branches, fan, {}, mask);
  CHECK(support::same_bits(trunk, mean));
  std::vector<double> unused(rows * explorations);
  tempflow::branch_step(backend, x, v, steps, steps, noise, {}, all.view(), unused);
  CHECK(wrong_elements(branches, x, all, mask) == 0);
  for (index_t r = 0; r < rows * explorations; ++r) {
    const index_t i = r / explorations;
    double alone = 79;
    tempflow::log_prob(backend, x.view().slice(i, 1), v.view().slice(i, 1), branches.view().slice(r, 1),
                       steps[static_cast<std::size_t>(i)], std::span(&alone, 1), {},
                       element_mask(mask.view().row(i), 1, columns));
    CHECK(fan[static_cast<std::size_t>(r)] == alone);
  }
  batch_buffer<T> again(rows * explorations, columns);
  std::vector<double> fan_again(rows * explorations);
  tempflow::branch_step(backend, x, v, {}, steps, noise, {}, again.view(), fan_again, {}, mask);
  CHECK(support::same_bits(again, branches));
  CHECK(support::same_bits(fan_again, fan));
}

}  // namespace

TEMPLATE_TEST_CASE("masked steps keep what is left out, and draw the rest as ever", "[mask]",
                   (std::pair<float, float>), (std::pair<double, double>), (std::pair<bfloat16, bfloat16>),
                   (std::pair<float16, float16>), (std::pair<float, bfloat16>)) {
  using T = typename TestType::first_type;
  using V = typename TestType::second_type;
  for (const index_t columns : {1, 33, 2051}) {
    for (const bool shared : {true, false}) {
      check_steps<T, V>(tempflow::reference_backend{}, columns, shared);
      for (const auto instructions :
           {instruction_set::portable, instruction_set::avx2, instruction_set::avx512}) {
        check_steps<T, V>(cpu_backend(1, instructions), columns, shared);
      }
    }
  }
  check_steps<T, V>(cpu_backend(8), 40003, false);
}

TEST_CASE("a masked step's ratio is exactly 1 on policy, and a mask of ones is none", "[mask]") {
  constexpr index_t columns = 3000;
  const cpu_backend cpu(2);
  const auto x = support::random_batch<bfloat16>(rows, columns, 1),
             v = support::random_batch<bfloat16>(rows, columns, 2);
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  const std::vector<std::uint8_t> ones(columns, 1);
  batch_buffer<bfloat16> y(rows, columns), plain(rows, columns);
  std::vector<double> masked(rows), unmasked(rows);
  tempflow::step(cpu, x, v, steps, {support::test_key, ids}, y, masked, {},
                 element_mask(ones.data(), 1, columns));
  tempflow::step(cpu, x, v, steps, {support::test_key, ids}, plain, unmasked);
  CHECK(support::same_bits(y, plain));
  CHECK(support::same_bits(masked, unmasked));
}

TEST_CASE("a velocity gives way to a masked step of the ODE", "[mask]") {
  const mask_bytes mask(rows, 100, 5);
  const auto x = support::random_batch<float>(rows, 100, 1);
  auto v = support::random_batch<float>(rows, 100, 2);
  const auto steps = support::mixed_transitions(rows);
  batch_buffer<float> expected(rows, 100);
  tempflow::ode_step(cpu_backend(1), x, v, steps, expected, mask);
  tempflow::ode_step(cpu_backend(1), x, v, steps, v, mask);
  CHECK(support::same_bits(v, expected));
}

TEMPLATE_TEST_CASE("what is put back has the bits that it had, NaN's included", "[mask]", bfloat16, float16) {
  batch_buffer<TestType> x(1, 65536), y(2, 65536);
  for (index_t e = 0; e < 65536; ++e) x.view().data()[e] = TestType{static_cast<std::uint16_t>(e)};
  mask_bytes mask(1, 65536, 6);
  const auto before = support::random_batch<TestType>(2, 65536, 7);
  y = before;
  tempflow::put_back(cpu_backend(2), x, mask, y);
  CHECK(wrong_elements(y, x, before, mask) == 0);
  tempflow::put_back(cpu_backend(2), x, {}, y);
  CHECK(wrong_elements(y, x, before, mask) == 0);
}

TEST_CASE("masked steps refuse what does not fit, and write nothing", "[mask]") {
  using support::check_throws;
  using tempflow::shape_error;
  constexpr index_t columns = 80;
  const cpu_backend cpu(1);
  auto x = support::random_batch<float>(rows, columns, 1);
  const auto v = support::random_batch<float>(rows, columns, 2);
  auto y = support::random_batch<float>(rows, columns, 3),
       branches = support::random_batch<float>(rows * explorations, columns, 4);
  const auto steps = support::mixed_transitions(rows);
  const auto ids = support::mixed_ids(rows);
  std::vector<double> log_probs(rows, 77), fan(rows * explorations, 77);
  const support::unchanged state(x), next(y), children(branches), scores(std::span<double>{log_probs}),
      fan_scores(std::span<double>{fan});
  mask_bytes none(rows, columns, 5);
  for (index_t e = 0; e < columns; ++e) none.at(2, e) = 0;
  const element_mask narrow(none.bytes().data(), rows, 79);
  const auto all = [&](element_mask mask, auto error, const std::string& text) {
    using error_type = decltype(error);
    const auto check = [&](const std::string& operation, const auto& act) {
      check_throws<error_type>(act, {operation + text});
    };
    check("step", [&] {
      tempflow::step(cpu, x, v, steps, {support::test_key, ids}, y, log_probs, {}, mask);
    });
    check("ode_step", [&] { tempflow::ode_step(cpu, x, v, steps, y, mask); });
    check("branch_step", [&] {
      tempflow::branch_step(cpu, x, v, steps, steps, {support::test_key, ids}, y, branches, fan, {}, mask);
    });
    check("put_back", [&] { tempflow::put_back(cpu, x, mask, y); });
  };
  all(none, tempflow::value_error(""), ": row 2 of the mask counts none of its 80 elements");
  all(narrow, shape_error(""), ": mask is 4 x 79, expected 4 x 80");
  const mask_bytes fits(1, columns, 6);
  check_throws<shape_error>([&] { tempflow::ode_step(cpu, x, v, steps, x, fits); },
                            {"ode_step: y shares memory with x"});
  check_throws<shape_error>([&] { tempflow::put_back(cpu, x, fits, x); }, {"put_back: x and y share memory"});
  check_throws<shape_error>([&] { tempflow::put_back(cpu, x, fits, branches.view().slice(0, 5)); },
                            {"put_back: y is 5 x 80, expected 4 x 80"});
  CHECK((state && next && children && scores && fan_scores));
}
