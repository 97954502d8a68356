// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// How arguments get to an emulated device: what travels in a kernel's parameters and what is uploaded, when values are
// read, and how often the device is asked where something lies.

#if !defined(__CUDACC__)

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/device/device_with_memory.hpp"
#include "tempflow/ops/branch_step.hpp"
#include "tempflow/ops/ema_update.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/guidance.hpp"

using support::placed;
using support::placed_numbers;
using tempflow::batch_buffer;
using tempflow::index_t;
using tempflow::noise_key;
using gpu_backend = support::test_device;

namespace {

/// Values in the memory of a device, where its kernels read them.
template <class T>
class on_device {
 public:
  on_device(const gpu_backend& on, const std::vector<T>& values)
      : size_(values.size()),
        memory_(on.make_buffer<double>(1, static_cast<index_t>(values.size() * sizeof(T) / 8 + 1))) {
    std::memcpy(data(), values.data(), values.size() * sizeof(T));
  }

  T* data() { return reinterpret_cast<T*>(memory_.view().data()); }
  std::span<T> span() { return {data(), size_}; }

 private:
  std::size_t size_;
  tempflow::device_buffer<double, support::emulated_device> memory_;
};

struct problem {
  gpu_backend gpu;
  index_t rows, columns = 40;
  batch_buffer<float> host = support::random_batch<float>(rows, columns, 1);
  placed<float, gpu_backend> x{gpu, host}, v{gpu, host}, y{gpu, rows, columns}, out{gpu, rows, columns},
      branches{gpu, 2 * rows, columns};
  std::vector<tempflow::transition> steps = support::mixed_transitions(rows);
  std::vector<tempflow::noise_id> ids = support::mixed_ids(rows);
  std::vector<double> numbers = std::vector<double>(static_cast<std::size_t>(rows), 0.5), log_probs = numbers,
                      branch_log_probs = std::vector<double>(numbers.size() * 2);

  tempflow::policy_batch<float> batch() {
    return {.x = x.view(),
            .y = x.view(),
            .transitions = steps,
            .old_log_probs = numbers,
            .advantages = numbers,
            .weights = numbers};
  }
};

constexpr tempflow::clipped_grpo objective{.clip = {1e6, 1e6}};

}  // namespace

TEST_CASE("tables of up to 2 KB travel in the parameters of the kernel, larger ones in one upload",
          "[device][arguments]") {
  for (const index_t rows : {3, 25, 26, 90}) {
    problem p{support::make_test_device(), rows};
    p.gpu.reserve(rows, p.columns);
    const auto& device = p.gpu.device();
    int launches = device.launches();
    std::vector<tempflow::policy_row> ours(p.numbers.size()), theirs(p.numbers.size());
    tempflow::policy_loss_rows(p.gpu, p.batch(), p.v, {}, objective, p.out.view(), std::span(ours));
    const index_t bytes = 16 * ((56 * rows + 15) / 16 + 3 * ((8 * rows + 15) / 16));
    CHECK(device.launches() == launches + 1 + (bytes > 2048 ? (bytes + 3583) / 3584 : 0));

    on_device<tempflow::transition> steps(p.gpu, p.steps);
    placed_numbers<gpu_backend> numbers(p.gpu, p.numbers);
    auto batch = p.batch();
    batch.transitions = std::span<const tempflow::transition>(steps.span());
    batch.old_log_probs = batch.advantages = numbers.span();
    batch.weights = std::span<const double>(numbers.span());
    placed<float, gpu_backend> expected(p.gpu, rows, p.columns);
    launches = device.launches();
    tempflow::policy_loss_rows(p.gpu, batch, p.v, {}, objective, expected.view(), std::span(theirs));
    CHECK(device.launches() == launches + 1);
    CHECK(support::same_bits(p.out.values(), expected.values()));
    CHECK(std::memcmp(ours.data(), theirs.data(), ours.size() * sizeof ours[0]) == 0);
  }
}

TEST_CASE("without clusters both passes of the loss share an upload", "[device][arguments]") {
  for (const index_t rows : {3, 30, 90}) {
    problem alone{support::make_test_device(0), rows}, clusters{support::make_test_device(), rows};
    alone.gpu.reserve(rows, alone.columns);
    const int launches = alone.gpu.device().launches();
    std::vector<tempflow::policy_row> of_rows(alone.numbers.size());
    tempflow::policy_loss_rows(alone.gpu, alone.batch(), alone.v, {}, objective, alone.out.view(),
                               std::span(of_rows));
    CHECK(alone.gpu.device().launches() == launches + 2 + (rows == 3 ? 0 : rows == 30 ? 1 : 3));
    tempflow::policy_loss_rows(clusters.gpu, clusters.batch(), clusters.v, {}, objective, clusters.out.view(),
                               std::span(of_rows));
    CHECK(support::same_bits(alone.out.values(), clusters.out.values()));
  }
}

TEST_CASE("the device is asked once where an argument lies, whatever the operation", "[device][arguments]") {
  problem p{support::make_test_device(), 90};  // too many rows for the parameters
  on_device<tempflow::transition> steps(p.gpu, p.steps);
  on_device<tempflow::noise_id> ids(p.gpu, p.ids);
  on_device<noise_key> key(p.gpu, {support::test_key});
  on_device<double> decay(p.gpu, {0.5});
  placed_numbers<gpu_backend> numbers(p.gpu, p.numbers);
  const std::vector<index_t> order(p.numbers.size());
  const std::vector<std::int64_t> groups(p.numbers.size());
  std::vector<tempflow::policy_row> of_rows(p.numbers.size());
  const auto size = static_cast<std::size_t>(p.rows * p.columns);
  const auto once = [&](const auto& call) {
    auto& asked = p.gpu.device().asked();
    asked.clear();
    call();
    std::map<const void*, int> times;
    for (const void* const address : asked) CHECK(++times[address] == 1);
    CHECK_FALSE(asked.empty());
  };
  const std::span<const tempflow::transition> device_steps(steps.span());
  const std::span<const tempflow::noise_id> device_ids(ids.span());
  for (const tempflow::per_row<tempflow::transition>& step :
       {tempflow::per_row<tempflow::transition>(p.steps), {device_steps}, {p.steps[0]}}) {
    for (const tempflow::noise_source& noise :
         {tempflow::noise_source{support::test_key, p.ids}, {key.data(), device_ids}}) {
      once([&] { tempflow::step(p.gpu, p.x.view(), p.v, step, noise, p.y.view(), p.log_probs); });
      once([&] {
        tempflow::branch_step(p.gpu, p.x.view(), p.v, step, step, noise, p.y.view(), p.branches.view(),
                              p.branch_log_probs);
      });
      once([&] { tempflow::fill_noise(p.gpu, noise, p.y.view()); });
    }
    once([&] { tempflow::ode_step(p.gpu, p.x.view(), p.v, step, p.y.view()); });
    once([&] { tempflow::log_prob(p.gpu, p.x.view(), p.v, p.y, step, p.log_probs); });
    auto batch = p.batch();
    batch.transitions = step;
    once([&] { tempflow::policy_loss(p.gpu, batch, p.v, {}, objective, p.out.view()); });
    batch.old_log_probs = batch.advantages = numbers.span();
    once([&] { tempflow::policy_loss(p.gpu, batch, p.v, p.v, objective, p.out.view(), std::span(of_rows)); });
  }
  for (const tempflow::per_row<double>& scale :
       {tempflow::per_row<double>(p.numbers), {std::span<const double>(numbers.span())}, {2.0}}) {
    for (const index_t channels : {0, 8}) {
      const tempflow::guidance_options options{.scale = scale, .channels = channels};
      once([&] { tempflow::guide(p.gpu, p.x.view(), p.v, options, p.y.view()); });
      once([&] { tempflow::guide_gradient(p.gpu, p.x.view(), p.v, p.v, options, p.y.view(), p.out.view()); });
    }
  }
  once([&] { tempflow::gather_rows(p.gpu, p.x.view(), order, p.y.view()); });
  once([&] { tempflow::copy_rows(p.gpu, p.x.view(), p.y.view()); });
  once([&] { tempflow::copy_to_host(p.gpu, p.x.view(), p.host); });
  once([&] {
    tempflow::ema_update(p.gpu, std::span(p.y.view().data(), size),
                         std::span<const float>(p.x.view().data(), size), decay.data());
  });
  once([&] { tempflow::group_advantages(p.gpu, p.numbers, groups, {}, p.log_probs); });
  once([&] {
    tempflow::group_advantages(p.gpu, std::span<const double>(numbers.span()), groups, {}, p.log_probs);
  });
}

TEST_CASE("a graph reads keys and decays in device memory when it is replayed, and keeps what the host gave",
          "[device][arguments]") {
  problem p{support::make_test_device(), 3};
  p.gpu.reserve(p.rows, p.columns);
  placed_numbers<gpu_backend> log_probs(p.gpu, p.rows);
  const noise_key first{.seed = 1}, second{.seed = 2, .update = 9};
  on_device<noise_key> key(p.gpu, {noise_key{}});
  on_device<double> decay(p.gpu, {0.0});
  const std::vector<tempflow::noise_id> given = p.ids;
  const auto size = static_cast<std::size_t>(p.rows * p.columns);
  const auto ema = [&](tempflow::stream_value<double> by, placed<float, gpu_backend>& average) {
    tempflow::ema_update(p.gpu, std::span(average.view().data(), size),
                         std::span<const float>(p.x.view().data(), size), by);
  };

  const auto& device = p.gpu.device();
  device.capture(true);
  tempflow::step(p.gpu, p.x.view(), p.v, p.steps, {key.data(), p.ids}, p.y.view(), log_probs.span());
  ema(decay.data(), p.out);
  device.capture(false);
  p.ids.assign(p.ids.size(), {});  // the graph has a copy
  for (const auto& [of_run, share] : {std::pair{first, 0.25}, {second, 0.5}}) {
    *key.data() = of_run, *decay.data() = share;
    placed<float, gpu_backend> y(p.gpu, p.rows, p.columns), average(p.gpu, p.out.values());
    std::vector<double> expected(log_probs.span().size());
    device.replay();
    tempflow::step(p.gpu, p.x.view(), p.v, p.steps, {of_run, given}, y.view(), expected);
    ema(share, average);
    CHECK(support::same_bits(p.y.values(), y.values()));
    CHECK(log_probs.values() == expected);
    CHECK(support::same_bits(p.out.values(), average.values()));
  }
}

TEST_CASE("managed memory holds arguments and results of the stream, which the host reads after waiting",
          "[device][arguments]") {
  problem p{support::make_test_device(), 3};
  const auto& device = p.gpu.device();
  const std::span<double> managed(device.managed(), p.numbers.size());
  const int waits = device.waits();
  tempflow::step(p.gpu, p.x.view(), p.v, p.steps, {support::test_key, p.ids}, p.y.view(), managed);
  CHECK(device.waits() == waits);
  tempflow::step(p.gpu, p.x.view(), p.v, p.steps, {support::test_key, p.ids}, p.y.view(), p.log_probs);
  CHECK(std::equal(managed.begin(), managed.end(), p.log_probs.begin()));
  const std::span of_rows(reinterpret_cast<tempflow::policy_row*>(device.managed() + 64), p.numbers.size());
  CHECK(tempflow::policy_loss(p.gpu, p.batch(), p.v, {}, objective, p.out.view(), of_rows).rows == p.rows);

  const tempflow::batch_view<float> batch(reinterpret_cast<float*>(device.managed() + 128), 1, p.columns);
  tempflow::fill_noise(p.gpu, {support::test_key, p.ids[0]}, batch);
}

TEST_CASE("buffers are cleared where zeros were asked for, and nowhere else", "[device][arguments]") {
  const auto gpu = support::make_test_device();
  const auto& device = gpu.device();
  const auto untouched = tempflow::make_buffer<float>(gpu, 3, 5);
  static_cast<void>(untouched.like(3, 5));
  const batch_buffer<float> host(3, 5);
  static_cast<void>(tempflow::from_host(gpu, host));
  CHECK(device.clears() == 0);
  const auto zeros = tempflow::make_zeros<float>(gpu, 3, 5);
  CHECK(device.clears() == 1);
  CHECK(support::same_bits(tempflow::to_host(gpu, zeros), host));
}

namespace {

/// Counts what it hands out, and to which stream.
struct counting_resource {
  struct counts {
    std::size_t live = 0;
    int allocations = 0, other_streams = 0;
  };
  support::emulated_device from;
  counts* counted;

  void* allocate(std::size_t bytes, int stream) {
    counted->live += bytes, ++counted->allocations;
    counted->other_streams += stream == from.stream() ? 0 : 1;
    return from.allocate(bytes);
  }
  void deallocate(void* memory, std::size_t bytes, int stream) {
    counted->live -= bytes;
    counted->other_streams += stream == from.stream() ? 0 : 1;
    from.release(memory, bytes);
  }
};

}  // namespace

TEST_CASE("a device takes all its memory from the resource that it was given", "[device][arguments]") {
  static_assert(tempflow::memory_resource<counting_resource, int>);
  using device_type = tempflow::device_with_memory<support::emulated_device, counting_resource>;
  const support::emulated_device device;
  counting_resource::counts counts;
  {
    const tempflow::device_backend<device_type> gpu{device, counting_resource{device, &counts}};
    const auto host = support::random_batch<float>(3, 40, 1);
    const auto x = tempflow::from_host(gpu, host);
    auto y = tempflow::make_buffer<float>(gpu, 3, 40);
    std::vector<double> log_probs(3);
    const auto ids = support::mixed_ids(3);
    tempflow::step(gpu, x, x, support::mixed_transitions(3)[0], {support::test_key, ids}, y, log_probs);
    CHECK(counts.allocations > 3);  // two batches, counters and the workspace
    CHECK(counts.allocations == device.allocations());
    CHECK(counts.live > 0);
  }
  CHECK(counts.live == 0);
  CHECK(counts.other_streams == 0);
  CHECK(device.blocks() == 0);
  CHECK(device.wrong_releases() == 0);
}

#endif
