// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Group advantages on a device against the host's.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/test_device.hpp"

#if defined(__CUDACC__)
#include "tempflow/cuda/group_advantages.cuh"
#endif

using tempflow::advantage_options;
using tempflow::advantage_scale;
using tempflow::index_t;

TEST_CASE("group advantages of a device are the host's", "[device]") {
  const auto backend = support::make_test_device();
  for (const index_t count : {2, 7, 128, 500}) {
    const auto rewards = support::numbers(3).take(count);
    std::vector<std::int64_t> neighbours, scattered;
    for (index_t i = 0; i < count; ++i)
      neighbours.push_back(i / 4 - 3), scattered.push_back(i % 5 * 1000000007);
    for (const auto& groups : {neighbours, scattered}) {
      for (const auto scale :
           {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
        for (const auto estimate : {tempflow::std_estimate::population, tempflow::std_estimate::sample}) {
          const advantage_options options{.scale = scale, .std = estimate};
          if (count == 2 && groups == scattered) continue;  // alone in their groups: the host refuses
          std::vector<double> device(static_cast<std::size_t>(count));
          tempflow::group_advantages(backend, rewards, groups, options, device);
          CHECK(device == tempflow::group_advantages(rewards, groups, options).values);
        }
      }
    }
  }
}

TEST_CASE("many samples in any order of groups have the host's advantages, bit by bit", "[device]") {
  constexpr index_t count = 70000;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const auto backend = support::make_test_device();
  const auto rewards = support::numbers(5).take(count);
  std::vector<std::int64_t> groups;
  for (index_t i = 0; i < count; ++i) {
    const std::int64_t group = i * 7919 % 4099;
    groups.push_back(i % 10 == 0 ? -group : i % 10 == 1 ? most - group : i % 10 == 2 ? group - most : group);
  }
  support::placed_numbers<support::test_device> on_device(backend, rewards), result(backend, count);
  tempflow::group_advantages(backend, std::span<const double>(on_device.span()), groups, {}, result.span());
  CHECK(result.values() == tempflow::group_advantages(rewards, groups).values);
}

TEST_CASE("the workspace of so many rows suffices for the advantages of as many samples", "[device]") {
  const auto owner = support::make_test_device();
  for (const index_t count : {2, 100, 6000}) {
    const std::size_t bytes = tempflow::device_workspace_bytes(count, 1);
    auto memory = owner.make_buffer<double>(1, static_cast<index_t>(bytes / sizeof(double)) + 1);
    const support::test_device backend(owner.device(),
                                       std::span(reinterpret_cast<std::byte*>(memory.view().data()), bytes));
    const std::vector<std::vector<double>> values(tempflow::max_rewards,
                                                  std::vector<double>(static_cast<std::size_t>(count), 0.5));
    std::vector<tempflow::weighted_reward> rewards;
    for (const auto& of_one : values) rewards.push_back({.values = of_one});
    const std::vector<std::int64_t> groups(static_cast<std::size_t>(count));
    std::vector<double> advantages(groups.size());
    CHECK_NOTHROW(tempflow::group_advantages(backend, rewards, groups, {.scale = advantage_scale::global_std},
                                             advantages));
  }
}

TEST_CASE("several weighted rewards become advantages on a device", "[device]") {
  const auto backend = support::make_test_device();
  const auto a = support::numbers(3).take(40), b = support::numbers(4).take(40);
  const std::vector<tempflow::weighted_reward> rewards{{.values = a, .weight = 0.7},
                                                       {.values = b, .weight = 0.3}};
  std::vector<std::int64_t> groups;
  for (index_t i = 0; i < 40; ++i) groups.push_back(i / 5);
  std::vector<double> device(40);
  tempflow::group_advantages(backend, rewards, groups, {}, device);
  CHECK(device == tempflow::group_advantages(tempflow::weighted_sum(rewards), groups).values);
}

TEST_CASE("constant groups and lone samples of a device have advantage 0", "[device]") {
  std::vector<double> advantages(5, 9);
  const std::vector<double> rewards{0.1, 0.1, 0.1, 5, 7};
  const std::vector<std::int64_t> groups{4, 4, 4, 5, 6};
  tempflow::group_advantages(support::make_test_device(), rewards, groups, {.epsilon = 0}, advantages);
  CHECK(advantages == std::vector<double>(5, 0.0));
}

TEST_CASE("rewards that are not finite are refused in host memory, and show from a device's", "[device]") {
  const auto backend = support::make_test_device();
  const std::vector<double> rewards{1, std::numeric_limits<double>::quiet_NaN(), 3, 4};
  const std::vector<std::int64_t> groups{0, 0, 1, 1};
  std::vector<double> advantages(4, 9);
  CHECK_THROWS_AS(tempflow::group_advantages(backend, rewards, groups, {}, advantages),
                  tempflow::value_error);
  CHECK(advantages == std::vector<double>(4, 9));
  support::placed_numbers<support::test_device> on_device(backend, rewards);
  tempflow::group_advantages(backend, std::span<const double>(on_device.span()), groups, {}, advantages);
  CHECK_FALSE(tempflow::is_finite(advantages[0]));
  CHECK_FALSE(tempflow::is_finite(advantages[1]));
  CHECK(advantages[2] < 0);
  CHECK(advantages[3] > 0);
}

TEST_CASE("a device excludes rewards that are not finite as the host does, wherever they lie", "[device]") {
  const auto backend = support::make_test_device();
  auto rewards = support::numbers(3).take(200);
  for (const std::size_t i : {0u, 17u, 18u, 19u, 20u, 55u, 199u}) rewards[i] = tempflow::not_a_number;
  rewards[60] = std::numeric_limits<double>::infinity();
  std::vector<std::int64_t> groups;
  for (index_t i = 0; i < 200; ++i) groups.push_back(i / 4);
  support::placed_numbers<support::test_device> on_device(backend, rewards);
  for (const auto scale : {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
    const advantage_options options{.scale = scale, .not_finite = tempflow::not_finite_rewards::exclude};
    const auto expected = tempflow::group_advantages(rewards, groups, options).values;
    std::vector<double> advantages(200, 9);
    tempflow::group_advantages(backend, rewards, groups, options, advantages);
    CHECK(advantages == expected);
    advantages.assign(200, 9);
    tempflow::group_advantages(backend, std::span<const double>(on_device.span()), groups, options,
                               advantages);
    CHECK(advantages == expected);
    advantages.assign(200, 9);
    tempflow::group_advantages(tempflow::cpu_backend(1), rewards, groups, options, advantages);
    CHECK(advantages == expected);
  }
}

TEST_CASE("a least std and the others' mean give the host's advantages, bit by bit", "[device]") {
  const auto backend = support::make_test_device();
  const auto rewards = support::numbers(7).take(96);
  std::vector<std::int64_t> groups;
  for (index_t i = 0; i < 96; ++i) groups.push_back(i * 5 % 24);
  index_t dead = 0;
  for (const auto scale : {advantage_scale::group_std, advantage_scale::global_std, advantage_scale::none}) {
    for (const auto baseline :
         {tempflow::advantage_baseline::group_mean, tempflow::advantage_baseline::others_mean}) {
      const advantage_options options{.scale = scale, .baseline = baseline, .min_std = 0.5};
      std::vector<double> device(96, 9);
      tempflow::group_advantages(backend, rewards, groups, options, device);
      const auto host = tempflow::group_advantages(rewards, groups, options);
      CHECK(device == host.values);
      dead = host.statistics.zero_std_groups;
    }
  }
  CHECK((dead > 0 && dead < 24));
}

TEST_CASE("a group of one without others is refused where the host can count, and else 0", "[device]") {
  const auto backend = support::make_test_device();
  const std::vector<double> rewards{1, 3, 5};
  const std::vector<std::int64_t> groups{7, 7, 42};
  const advantage_options others{.scale = advantage_scale::none,
                                 .baseline = tempflow::advantage_baseline::others_mean};
  std::vector<double> advantages(3, 9);
  CHECK_THROWS_AS(tempflow::group_advantages(backend, rewards, groups, others, advantages),
                  tempflow::group_error);
  CHECK_THROWS_AS(tempflow::group_advantages(tempflow::cpu_backend(1), rewards, groups, others, advantages),
                  tempflow::group_error);
  CHECK(advantages == std::vector<double>(3, 9));
  std::vector<double> as_numbers;
  for (const std::int64_t id : groups) as_numbers.push_back(tempflow::bit_cast<double>(id));
  support::placed_numbers<support::test_device> on_device(backend, as_numbers);
  const std::span<const std::int64_t> ids(
      reinterpret_cast<const std::int64_t*>(std::span<const double>(on_device.span()).data()), 3);
  tempflow::group_advantages(backend, rewards, ids, others, advantages);
  CHECK(advantages == std::vector<double>{-2, 2, 0});
}

TEST_CASE("the size of a device's groups is checked where the host can count them", "[device]") {
  const auto backend = support::make_test_device();
  const std::vector<double> rewards{1, 2, 3, 4, 5};
  const std::vector<std::int64_t> groups{7, 42, 7, 42, 7};
  std::vector<double> advantages(5, 9);
  CHECK_THROWS_AS(tempflow::group_advantages(backend, rewards, groups, {.group_size = 3}, advantages),
                  tempflow::group_error);
  auto memory = backend.make_buffer<double>(1, 5);
  const std::span<const std::int64_t> on_device(reinterpret_cast<std::int64_t*>(memory.view().data()), 5);
  CHECK_THROWS_AS(tempflow::group_advantages(backend, rewards, on_device, {.group_size = 3}, advantages),
                  tempflow::memory_error);
  CHECK(advantages == std::vector<double>(5, 9));
}

TEST_CASE("advantages of a device check their arguments", "[device]") {
  const auto backend = support::make_test_device();
  std::vector<double> advantages(4), rewards(4, 1.0);
  const std::vector<std::int64_t> groups(4), few(3);
  const auto call = [&](std::span<const std::int64_t> of, const advantage_options& options) {
    tempflow::group_advantages(backend, rewards, of, options, advantages);
  };
  CHECK_THROWS_AS(call(few, {}), tempflow::shape_error);
  CHECK_THROWS_AS(call(groups, {.epsilon = -1}), tempflow::value_error);
  CHECK_THROWS_AS(tempflow::group_advantages(backend, std::span<const tempflow::weighted_reward>(), groups,
                                             {}, advantages),
                  tempflow::shape_error);
}
