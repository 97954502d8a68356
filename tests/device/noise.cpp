// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// y - mean = std z, with z what fill_noise draws for the same key and id: on every backend, bit for bit.

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/noise_literals.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/fill_noise.hpp"

using support::placed;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::index_t;
using tempflow::noise_id;
using tempflow::transition;

namespace {

constexpr index_t rows = 3, columns = 1030, explorations = 3;

// What step and branch_step draw from one x and v, the mean, and the noise that fill_noise draws for the same ids:
// for branches, ids whose branch is increased by 0, 1 and 2.
template <class T, class B>
struct drawn {
  batch_buffer<T> mean, y, branches;
  batch_buffer<float> z, z_of_branches;

  drawn(const B& backend, const std::vector<transition>& steps) {
    const std::vector<noise_id> ids = support::mixed_ids(rows);
    std::vector<noise_id> of_branches;
    for (const noise_id& id : ids) {
      for (std::uint16_t k = 0; k < explorations; ++k) {
        of_branches.push_back(id);
        of_branches.back().branch = static_cast<std::uint16_t>(id.branch + k);
      }
    }
    placed<T, B> x(backend, support::random_batch<T>(rows, columns, 1)),
        v(backend, support::random_batch<T>(rows, columns, 2)), means(backend, rows, columns),
        next(backend, rows, columns), several(backend, rows * explorations, columns);
    placed<float, B> noise(backend, rows, columns), noises(backend, rows * explorations, columns);
    std::vector<double> log_probs(rows * explorations);
    tempflow::ode_step(backend, x.view(), v, steps, means.view());
    tempflow::step(backend, x.view(), v, steps, {support::test_key, ids}, next.view(), {});
    tempflow::fill_noise(backend, {support::test_key, ids}, noise.view());
    tempflow::branch_step(backend, x.view(), v, steps, steps, {support::test_key, ids}, means.view(),
                          several.view(), log_probs);
    tempflow::fill_noise(backend, {support::test_key, of_branches}, noises.view());
    mean = means.values(), y = next.values(), branches = several.values();
    z = noise.values(), z_of_branches = noises.values();
  }
};

// Rows of y that are not y_of(i, mean, z) in every element, i the row of x and v.
template <class T, class YOf>
int wrong_rows(const batch_buffer<T>& y, const batch_buffer<T>& mean, const batch_buffer<float>& z,
               const YOf& y_of) {
  int wrong = 0;
  for (index_t row = 0; row < y.rows(); ++row) {
    const index_t i = row * mean.rows() / y.rows();
    bool right = true;
    for (index_t e = 0; e < columns; ++e) {
      const T expected = tempflow::store<T>(y_of(i, mean.view().row(i)[e], z.view().row(row)[e]));
      right = right && support::value_of(y.view().row(row)[e]) == support::value_of(expected);
    }
    wrong += right ? 0 : 1;
  }
  return wrong;
}

// Half of z is exact in every arithmetic, so y is that, rounded to storage once.
template <class T, class B>
void check_noise_alone(const B& backend) {
  const std::vector<transition> halves(rows, transition{.alpha = 0, .beta = 0, .std = 0.5});
  const drawn<T, B> found(backend, halves);
  const auto half = [](index_t, T, float z) { return 0.5f * z; };
  CHECK(wrong_rows(found.y, found.mean, found.z, half) == 0);
  CHECK(wrong_rows(found.branches, found.mean, found.z_of_branches, half) == 0);
}

// Where the mean is stored without rounding, y is fma(std, z, mean) in the same type.
template <class T, class B>
void check_mean_and_noise(const B& backend) {
  const auto steps = support::mixed_transitions(rows);
  const drawn<T, B> found(backend, steps);
  const auto expected = [&](index_t i, T mean, float z) {
    return std::fma(static_cast<T>(steps[static_cast<std::size_t>(i)].std), T{z}, mean);
  };
  CHECK(wrong_rows(found.y, found.mean, found.z, expected) == 0);
  CHECK(wrong_rows(found.branches, found.mean, found.z_of_branches, expected) == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("without a mean, a step is the noise that fill_noise draws", "[device][noise]", float,
                   double, bfloat16, float16) {
  check_noise_alone<TestType>(tempflow::reference_backend{});
  check_noise_alone<TestType>(cpu_backend(2));
  check_noise_alone<TestType>(support::make_test_device());
}

TEST_CASE("a step is its mean plus std times the noise that fill_noise draws", "[device][noise]") {
  check_mean_and_noise<double>(tempflow::reference_backend{});  // its means are of type double
  check_mean_and_noise<float>(cpu_backend(2));
  check_mean_and_noise<double>(cpu_backend(2));
  check_mean_and_noise<float>(support::make_test_device());
  check_mean_and_noise<double>(support::make_test_device());
}

TEST_CASE("a device draws the same bits for ever", "[device][noise]") {
  const auto backend = support::make_test_device();
  for (const auto& noise : support::literal_noises()) {
    if (noise.block > 1000) continue;
    placed<float, support::test_device> row(backend, 1, 4 * noise.block + 4);
    tempflow::fill_noise(backend, {noise.key, noise.id}, row.view());
    const auto values = row.values();
    const float* const last = values.view().row(0) + 4 * noise.block;
    CHECK(std::vector<float>(last, last + 4) == noise.normals);
  }
}
