// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What only a CUDA device can show: graphs, memory of all kinds, errors of the runtime, and runs that repeat.

#include <cuda_runtime.h>

#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/policy_problem.hpp"
#include "support/test_device.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/ema_update.hpp"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using support::placed;
using support::placed_numbers;
using tempflow::check_cuda;
using tempflow::index_t;

namespace {

constexpr index_t rows = 4, columns = 65536;

// Everything that a captured update touches, in device memory.
struct update {
  tempflow::cuda_backend gpu = support::make_test_device();
  support::drawn_rows<float> drawn{tempflow::cpu_backend(), rows, columns};
  placed<float, tempflow::cuda_backend> x{gpu, drawn.x}, v{gpu, drawn.v}, y{gpu, rows, columns},
      gradient{gpu, rows, columns};
  placed_numbers<tempflow::cuda_backend> log_probs{gpu, rows},
      advantages{gpu, std::vector<double>{1, -1, 2, 0.5}};
  std::vector<tempflow::transition> steps = support::mixed_transitions(rows);
  std::vector<tempflow::noise_id> ids = support::mixed_ids(rows);
  tempflow::policy_row* policy_rows = nullptr;

  update() {
    gpu.reserve(rows, columns);
    check_cuda(cudaMallocAsync(&policy_rows, rows * sizeof *policy_rows, gpu.device().stream()),
               "cudaMallocAsync");
  }
  ~update() { cudaFreeAsync(policy_rows, gpu.device().stream()); }

  void enqueue(const tempflow::stream_value<tempflow::noise_key>& key = support::test_key) {
    tempflow::step(gpu, x.view(), v, steps[0], {key, ids}, y.view(), log_probs.span());
    const tempflow::policy_batch<float> batch{.x = x.view(),
                                              .y = y.view(),
                                              .transitions = steps[0],
                                              .old_log_probs = log_probs.span(),
                                              .advantages = advantages.span()};
    tempflow::policy_loss_rows(gpu, batch, v, {}, tempflow::clipped_grpo{}, gradient.view(),
                               std::span(policy_rows, rows));
  }
};

/// What was captured from a stream.
class graph {
 public:
  template <class Work>
  graph(cudaStream_t stream, const Work& work) : stream_(stream) {
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    work();
    check_cuda(cudaStreamEndCapture(stream, &graph_), "cudaStreamEndCapture");
    check_cuda(cudaGraphInstantiate(&executable_, graph_, 0), "cudaGraphInstantiate");
  }
  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;
  ~graph() {
    cudaGraphExecDestroy(executable_);
    cudaGraphDestroy(graph_);
  }

  void replay() { check_cuda(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch"); }

  std::size_t nodes() const {
    std::size_t count = 0;
    check_cuda(cudaGraphGetNodes(graph_, nullptr, &count), "cudaGraphGetNodes");
    return count;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

/// A value that kernels read in stream order.
template <class T>
class managed {
 public:
  managed() { check_cuda(cudaMallocManaged(&value_, sizeof(T)), "cudaMallocManaged"); }
  managed(const managed&) = delete;
  managed& operator=(const managed&) = delete;
  ~managed() { cudaFree(value_); }

  T* address() const { return value_; }

 private:
  T* value_ = nullptr;
};

}  // namespace

TEST_CASE("an update is captured into a graph and replayed", "[cuda]") {
  update expected, replayed;
  expected.enqueue();
  graph captured(replayed.gpu.device().stream(), [&] { replayed.enqueue(); });
  const tempflow::batch_buffer<float> zeros(rows, columns);
  for (int round = 0; round < 3; ++round) {
    tempflow::copy_from_host(replayed.gpu, zeros.view(), replayed.gradient.view());
    captured.replay();
    CHECK(support::same_bits(replayed.y.values(), expected.y.values()));
    CHECK(support::same_bits(replayed.gradient.values(), expected.gradient.values()));
    CHECK(replayed.log_probs.values() == expected.log_probs.values());
  }
  // The step, and the loss: one launch with clusters, else two. Tables are parameters.
  CHECK((captured.nodes() == 2 || captured.nodes() == 3));
}

TEST_CASE("each replay of an update draws the noise of the key that lies on the device by then", "[cuda]") {
  update expected, replayed;
  const managed<tempflow::noise_key> key;
  const managed<double> decay;
  const auto ema = [](update& u, const tempflow::stream_value<double>& by) {
    tempflow::ema_update(u.gpu, std::span(u.x.view().data(), rows * columns),
                         std::span<const float>(u.y.view().data(), rows * columns), by);
  };
  *key.address() = {}, *decay.address() = 0;
  graph captured(replayed.gpu.device().stream(), [&] {
    replayed.enqueue(key.address());
    ema(replayed, decay.address());
  });
  tempflow::batch_buffer<float> before;
  for (const std::uint32_t run : {1u, 2u}) {
    const tempflow::noise_key of_run{.seed = 42, .update = run};
    replayed.gpu.synchronize();
    *key.address() = of_run, *decay.address() = 0.25 * run;
    captured.replay();
    expected.enqueue(of_run);
    ema(expected, 0.25 * run);
    const auto y = replayed.y.values();
    CHECK(support::same_bits(y, expected.y.values()));
    CHECK(support::same_bits(replayed.x.values(), expected.x.values()));
    CHECK(support::same_bits(replayed.gradient.values(), expected.gradient.values()));
    CHECK_FALSE(support::same_bits(y, before));
    before = y;
  }
}

namespace {

/// Counts what it hands out.
struct counting_resource {
  std::size_t* live;

  void* allocate(std::size_t bytes, cudaStream_t stream) {
    void* memory = nullptr;
    check_cuda(cudaMallocAsync(&memory, bytes, stream), "cudaMallocAsync");
    *live += bytes;
    return memory;
  }
  void deallocate(void* memory, std::size_t bytes, cudaStream_t stream) {
    *live -= bytes;
    cudaFreeAsync(memory, stream);
  }
};

}  // namespace

TEST_CASE("memory comes from the resource that a backend was given, for the same kernels", "[cuda]") {
  update u;
  u.enqueue();
  std::size_t live = 0;
  {
    const tempflow::cuda_backend_with<counting_resource> gpu{u.gpu.device(), counting_resource{&live}};
    auto y = tempflow::make_buffer<float>(gpu, rows, columns);
    std::vector<double> log_probs(rows);
    tempflow::step(gpu, u.x.view(), u.v, u.steps[0], {support::test_key, u.ids}, y, log_probs);
    CHECK(log_probs == u.log_probs.values());
    CHECK(live > rows * columns * sizeof(float));
  }
  CHECK(live == 0);
}

TEST_CASE("a backend runs on the device that it was made for, whichever is current", "[cuda]") {
  update u;
  CHECK(u.gpu.device().id() == tempflow::current_cuda_device());
  const tempflow::cuda_backend same{u.gpu.device().stream(), tempflow::current_cuda_device()};
  tempflow::ode_step(same, u.x.view(), u.v, u.steps[0], u.y.view());
  same.synchronize();
  int devices = 0;
  check_cuda(cudaGetDeviceCount(&devices), "cudaGetDeviceCount");
  if (devices < 2) return;
  check_cuda(cudaSetDevice(1), "cudaSetDevice");
  tempflow::ode_step(u.gpu, u.x.view(), u.v, u.steps[0], u.y.view());
  u.gpu.synchronize();
  CHECK(tempflow::current_cuda_device() == 1);
  check_cuda(cudaSetDevice(0), "cudaSetDevice");
}

TEST_CASE("runs on a GPU repeat bit by bit", "[cuda]") {
  update first;
  first.enqueue();
  const auto y = first.y.values(), gradient = first.gradient.values();
  const auto log_probs = first.log_probs.values();
  for (int i = 0; i < 20; ++i) {
    first.enqueue();
    CHECK(support::same_bits(first.y.values(), y));
    CHECK(support::same_bits(first.gradient.values(), gradient));
    CHECK(first.log_probs.values() == log_probs);
  }
}

TEST_CASE("results in managed memory are written in stream order, and the host may wait for them", "[cuda]") {
  update u;
  u.enqueue();
  const managed<double[rows]> log_probs;
  const std::span<double> scored(*log_probs.address(), rows);
  tempflow::log_prob(u.gpu, u.x.view(), u.v, u.y, u.steps[0], scored);
  u.gpu.synchronize();
  CHECK(std::vector<double>(scored.begin(), scored.end()) == u.log_probs.values());
}

TEST_CASE("results in pinned memory are written in stream order", "[cuda]") {
  update u;
  u.enqueue();
  double* pinned = nullptr;
  check_cuda(cudaMallocHost(&pinned, rows * sizeof(double)), "cudaMallocHost");
  tempflow::log_prob(u.gpu, u.x.view(), u.v, u.y, u.steps[0], std::span(pinned, rows));
  u.gpu.synchronize();
  CHECK(std::vector<double>(pinned, pinned + rows) == u.log_probs.values());
  check_cuda(cudaFreeHost(pinned), "cudaFreeHost");
}

TEST_CASE("an error of the CUDA runtime names the call, the error and the place, and is cleared", "[cuda]") {
  void* memory = nullptr;
  const auto too_much = [&] { check_cuda(cudaMalloc(&memory, std::size_t{1} << 60), "cudaMalloc"); };
  CHECK_THROWS_MATCHES(too_much(), tempflow::cuda_error,
                       MessageMatches(ContainsSubstring("cudaMalloc: cudaErrorMemoryAllocation") &&
                                      ContainsSubstring("graph.cu:")));
  CHECK(cudaGetLastError() == cudaSuccess);
}
