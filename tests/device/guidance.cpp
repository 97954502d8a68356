// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Guidance on a device: the bits of the cpu backend, whatever the tokens and wherever rows begin, tokens of zeros
// included; and nothing but the results is written.

#include "tempflow/ops/guidance.hpp"

#include <span>
#include <utility>

#include "support/catch.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"

using support::layout;
using support::placed;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::guidance_options;
using tempflow::index_t;

namespace {

template <class G>
struct results {
  batch_buffer<G> guided, of_conditional, of_unconditional, alone;
  bool sentinels = true;
};

template <class T, class G, class B>
results<G> compute_all(const B& backend, index_t rows, index_t columns, index_t channels, layout shape) {
  auto zeros = support::random_batch<T>(rows, columns, 1);
  for (index_t e = 0; e < channels && e < columns; ++e) zeros.view().row(0)[e] = T{};
  placed<T, B> c(backend, zeros, shape), u(backend, support::random_batch<T>(rows, columns, 2), shape),
      g(backend, support::random_batch<T>(rows, columns, 3), shape);
  placed<G, B> v(backend, rows, columns, shape), of_c(backend, rows, columns, shape),
      of_u(backend, rows, columns, shape), alone(backend, rows, columns, shape);
  const auto scales = support::numbers(4).take(rows);
  const guidance_options options{.scale = scales, .channels = channels};
  const auto from = [](auto& batch) { return tempflow::detail::as_input(batch.view()); };
  tempflow::guide(backend, from(c), from(u), options, v.view());
  tempflow::guide_gradient(backend, from(g), from(c), from(u), options, of_c.view(), of_u.view());
  tempflow::guide_gradient(backend, from(g), from(c), from(u), options, batch_view<G>(), alone.view());
  results<G> out{v.values(), of_c.values(), of_u.values(), alone.values()};
  for (auto* batch : {&c, &u, &g}) out.sentinels = out.sentinels && batch->sentinels_stand();
  for (auto* batch : {&v, &of_c, &of_u, &alone}) out.sentinels = out.sentinels && batch->sentinels_stand();
  return out;
}

template <class T, class G = T>
void check_same(index_t rows, index_t columns, index_t channels, layout shape = {}) {
  INFO(rows << " x " << columns << ", " << channels << " channels, offset " << shape.offset << ", padding "
            << shape.padding);
  const auto device = compute_all<T, G>(support::make_test_device(), rows, columns, channels, shape);
  const auto expected = compute_all<T, G>(tempflow::cpu_backend(1), rows, columns, channels, shape);
  CHECK(support::same_bits(device.guided, expected.guided));
  CHECK(support::same_bits(device.of_conditional, expected.of_conditional));
  CHECK(support::same_bits(device.of_unconditional, expected.of_unconditional));
  CHECK(support::same_bits(device.alone, expected.of_unconditional));
  CHECK(device.sentinels);
}

}  // namespace

TEMPLATE_TEST_CASE("guidance on a device has the bits of the cpu's", "[device]", float, double, bfloat16,
                   float16) {
  for (const index_t columns : {1, 33, 1023, 1024, 4099, 8192}) check_same<TestType>(3, columns, 0);
  for (const index_t channels : {1, 16, 31, 32, 33, 64, 96, 2049})
    check_same<TestType>(3, 5 * channels, channels);
}

TEMPLATE_TEST_CASE("what is guided on a device may begin anywhere", "[device]", float, double, bfloat16,
                   float16) {
  for (const layout shape : {layout{1, 0}, layout{0, 1}, layout{3, 5}, layout{8, 8}}) {
    check_same<TestType>(2, 2048, 0, shape);
    check_same<TestType>(2, 640, 64, shape);
  }
}

TEMPLATE_TEST_CASE("results of guidance on a device may have a storage type of their own", "[device]",
                   (std::pair<float, bfloat16>), (std::pair<bfloat16, float>), (std::pair<float16, float>)) {
  using T = typename TestType::first_type;
  using G = typename TestType::second_type;
  for (const layout shape : {layout{}, layout{1, 0}, layout{8, 8}}) {
    check_same<T, G>(2, 2048 + 96, 0, shape);
    check_same<T, G>(2, 640, 64, shape);
  }
}

TEST_CASE("rows that are guided on a device may be many", "[device]") {
  check_same<float>(300, 6, 3);
  check_same<float>(300, 5, 0);
  check_same<float>(1, 64 * 500, 64);
}

TEST_CASE("guidance on a device takes the place of a prediction, and reads scales in its memory",
          "[device]") {
  const auto backend = support::make_test_device();
  using B = support::test_device;
  const index_t rows = 3, columns = 1024 + 64;
  const auto host_c = support::random_batch<float>(rows, columns, 1),
             host_u = support::random_batch<float>(rows, columns, 2);
  const auto scales = support::numbers(5).take(rows);
  support::placed_numbers<B> on_device(backend, scales);
  for (const index_t channels : {0, 64}) {
    batch_buffer<float> expected(rows, columns), of_c(rows, columns), of_u(rows, columns);
    const guidance_options options{.scale = scales, .channels = channels};
    tempflow::guide(tempflow::cpu_backend(1), host_c, host_u, options, expected);
    tempflow::guide_gradient(tempflow::cpu_backend(1), host_u, host_c, host_u, options, of_c, of_u);
    placed<float, B> c(backend, host_c), u(backend, host_u), again(backend, host_u), to(backend, host_c);
    const guidance_options there{.scale = std::span<const double>(on_device.span()), .channels = channels};
    tempflow::guide_gradient(backend, u.view(), c, again, there, to.view(), again.view());
    CHECK(support::same_bits(to.values(), of_c));
    CHECK(support::same_bits(again.values(), of_u));
    tempflow::guide(backend, c.view(), u, there, c.view());
    CHECK(support::same_bits(c.values(), expected));
  }
}

TEST_CASE("guidance of batches in host memory is an error of a device", "[device]") {
  const auto backend = support::make_test_device();
  const auto host = support::random_batch<float>(2, 64, 1);
  placed<float, support::test_device> c(backend, host), v(backend, host);
  for (const index_t channels : {0, 64}) {
    const guidance_options options{.scale = 2.0, .channels = channels};
    CHECK_THROWS_AS(tempflow::guide(backend, c.view(), host, options, v.view()), tempflow::memory_error);
    CHECK_THROWS_AS(tempflow::guide_gradient(backend, host, c, c, options, v.view(), {}),
                    tempflow::memory_error);
    CHECK(support::same_bits(v.values(), host));
  }
}
