// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Objectives of a row's means on a device, in one call and in two: the bits of the cpu backend.

#include <concepts>
#include <span>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/loss_outcome.hpp"
#include "support/placed_mask.hpp"
#include "support/row_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/objective/advantage_weighted_matching.hpp"
#include "tempflow/objective/diffusion_nft.hpp"
#include "tempflow/objective/grpo_guard.hpp"
#include "tempflow/ops/policy_gradient.hpp"
#include "tempflow/ops/policy_loss.hpp"

using support::placed;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;

namespace {

/// The batches of a problem in the memory of a backend.
template <class T, class B>
struct placed_problem {
  placed<T, B> x, y, v, v_ref, v_old;
  tempflow::policy_batch<T> batch;

  placed_problem(const B& backend, const support::row_problem<T>& of, support::layout shape)
      : x(backend, of.given.x, shape),
        y(backend, of.given.rows.y, shape),
        v(backend, of.given.v, shape),
        v_ref(backend, of.given.v_ref, shape),
        v_old(backend, of.v_old, shape),
        batch(of.batch()) {
    batch.x = x.view(), batch.y = y.view();
  }
};

template <class G, class T, class B, class Objective>
support::loss_outcome<G> loss_on(const B& backend, const support::row_problem<T>& of,
                                 const Objective& objective, double scale, support::layout shape = {}) {
  placed_problem<T, B> at(backend, of, shape);
  at.batch.gradient_scale = scale;
  placed<G, B> gradient(backend, of.given.states(), of.given.x.columns(), shape);
  support::loss_outcome<G> out{{}, std::vector<tempflow::policy_row>(of.given.rows.log_probs.size()), {}};
  out.total = tempflow::policy_loss(backend, at.batch, at.v.view(), at.v_ref.view(), at.v_old.view(),
                                    objective, gradient.view(), std::span<tempflow::policy_row>(out.rows));
  out.gradient = gradient.values();
  return out;
}

/// A loss of the ratio, masked.
template <class B>
support::loss_outcome<float> masked_on(const B& backend, const support::row_problem<float>& of,
                                       tempflow::element_mask mask) {
  placed_problem<float, B> at(backend, of, {});
  at.batch.mask = mask;
  placed<float, B> gradient(backend, of.given.states(), of.given.x.columns());
  support::loss_outcome<float> out{{}, std::vector<tempflow::policy_row>(of.given.rows.log_probs.size()), {}};
  const tempflow::clipped_grpo objective{.clip = {0.1, 0.1}, .kl_beta = 0.1};
  out.total = tempflow::policy_loss(backend, at.batch, at.v.view(), at.v_ref.view(), {},
                                    tempflow::as_row_objective(objective), gradient.view(),
                                    std::span<tempflow::policy_row>(out.rows));
  out.gradient = gradient.values();
  return out;
}

/// Sums, and the gradient of factors that differ from row to row.
template <class G, class T, class B>
support::loss_outcome<G> calls_on(const B& backend, const support::row_problem<T>& of, double scale,
                                  bool has_old, double mixture, std::vector<tempflow::row_sums>& sums) {
  placed_problem<T, B> at(backend, of, {});
  const auto count = of.given.rows.log_probs.size();
  const tempflow::batch_view<const T> v_old = has_old ? at.v_old.view() : tempflow::batch_view<T>();
  sums.resize(count);
  tempflow::policy_sums(backend, at.batch, at.v.view(), at.v_ref.view(), v_old, sums, mixture);
  std::vector<tempflow::row_factors> factors(count);
  support::numbers source(8);
  for (std::size_t i = 0; i < count; ++i) {
    factors[i] = {i % 3 == 0 ? 0 : scale * source.next(), scale * source.next(),
                  has_old ? scale * source.next() : 0};
  }
  placed<G, B> gradient(backend, of.given.states(), of.given.x.columns());
  support::loss_outcome<G> out{{}, std::vector<tempflow::policy_row>(count), {}};
  tempflow::policy_gradient(backend, at.batch, at.v.view(), at.v_ref.view(), v_old, factors, gradient.view(),
                            std::span<tempflow::policy_row>(out.rows));
  out.gradient = gradient.values();
  return out;
}

template <class G>
void check_same(const support::loss_outcome<G>& device, const support::loss_outcome<G>& cpu) {
  CHECK(support::same_bits(device.gradient, cpu.gradient));
  if constexpr (support::emulated) CHECK(support::same_numbers(device.rows, cpu.rows));
}

const std::vector<index_t> one_each(5, 1);

}  // namespace

TEMPLATE_TEST_CASE("a device has the cpu backend's bits for objectives of means", "[device]", float,
                   bfloat16) {
  using gradient = TestType;
  const tempflow::cpu_backend cpu(1);
  const auto device = support::make_test_device();
  for (const index_t columns : {33, 1024, 2500}) {
    for (const auto& counts : {support::mixed_counts, one_each}) {
      INFO(columns << " columns, " << counts.size() << " states");
      const support::row_problem<TestType> drawn(cpu, columns, false, counts),
          clean(cpu, columns, true, counts);
      const auto check = [&](const auto& of, const auto& objective) {
        check_same(loss_on<gradient>(device, of, objective, 1), loss_on<gradient>(cpu, of, objective, 1));
        const support::layout apart{3, 5};
        check_same(loss_on<gradient>(device, of, objective, 1, apart),
                   loss_on<gradient>(cpu, of, objective, 1));
      };
      check(drawn, tempflow::grpo_guard{.clip = {0.1, 0.1}, .kl_beta = 0.1});
      if constexpr (std::same_as<TestType, float>) {  // the kernels of the other types are the same
        check(clean, tempflow::diffusion_nft{.mixture = 0.5});
        check(clean, tempflow::advantage_weighted_matching{.clip = {0.1, 0.1}, .kl_beta = 0.01});
      }
    }
  }
}

TEST_CASE("a device has the cpu backend's sums, and its gradients from factors", "[device]") {
  const tempflow::cpu_backend cpu(1);
  const auto device = support::make_test_device();
  for (const auto& [has_old, mixture] : {std::pair(false, 0.0), std::pair(true, 0.0), std::pair(true, 0.4)}) {
    const support::row_problem<float> of(cpu, 2500);
    std::vector<tempflow::row_sums> on_device, on_cpu;
    check_same(calls_on<float>(device, of, 0.1, has_old, mixture, on_device),
               calls_on<float>(cpu, of, 0.1, has_old, mixture, on_cpu));
    const auto numbers_of = [](const std::vector<tempflow::row_sums>& sums) {
      return std::span<const double>(&sums[0].elements, 8 * sums.size());
    };
    CHECK(support::same_bits(numbers_of(on_device), numbers_of(on_cpu)));
    CHECK((on_cpu[0].old > 0) == has_old);
  }
}

TEST_CASE("a device marks the states whose gradient overflows fp16, as the cpu backend does", "[device]") {
  const tempflow::cpu_backend cpu(1);
  const auto device = support::make_test_device();
  const support::row_problem<float16> of(cpu, 1500);
  std::vector<tempflow::row_sums> sums;
  const auto check_marked = [](const support::loss_outcome<float16>& on_device,
                               const support::loss_outcome<float16>& expected, bool overflows) {
    CHECK(support::same_bits(on_device.gradient, expected.gradient));
    bool same = true, any = false;
    for (std::size_t i = 0; i < expected.rows.size(); ++i) {
      same = same && on_device.rows[i].finite == expected.rows[i].finite;
      any = any || expected.rows[i].finite == 0;
    }
    CHECK(same);
    CHECK(any == overflows);
  };
  for (const double scale : {1.0, 3e5}) {
    const auto expected = calls_on<float16>(cpu, of, scale, true, 0, sums);
    check_marked(calls_on<float16>(device, of, scale, true, 0, sums), expected, scale > 1);
  }
  const tempflow::grpo_guard guard{.clip = {0.1, 0.1}};
  for (const double scale : {1e4, 1e12}) {
    const auto expected = loss_on<float16>(cpu, of, guard, scale);
    check_marked(loss_on<float16>(device, of, guard, scale), expected, scale > 1e5);
  }
}

TEST_CASE("masked losses of a device have the cpu backend's bits", "[device][mask]") {
  const tempflow::cpu_backend cpu(1);
  const auto device = support::make_test_device();
  for (const index_t columns : {33, 1024, 2500}) {
    support::row_problem<float> of(cpu, columns);
    for (const index_t rows : {index_t{1}, of.given.states()}) {
      INFO(columns << " columns, " << rows << " rows of the mask");
      const support::mask_bytes mask(rows, columns, 6);
      support::placed_mask at_mask(device, mask);
      const auto expected = masked_on(cpu, of, mask);
      CHECK(expected.total.non_finite_rows == 0);
      check_same(masked_on(device, of, at_mask), expected);
    }
  }
}
