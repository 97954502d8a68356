// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// What only a CUDA device can show: graphs, errors of the runtime, pinned memory, and runs that repeat.

#include <cuda_runtime.h>

#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/device_place.hpp"
#include "support/policy_problem.hpp"
#include "tempflow/backend/cpu.hpp"

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
  tempflow::cuda_backend gpu = support::make_device_place();
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

  void enqueue() {
    tempflow::step(gpu, x.view(), v, steps[0], {support::test_key, std::span<const tempflow::noise_id>(ids)},
                   y.view(), log_probs.span());
    const tempflow::policy_batch<float> batch{.x = x.view(),
                                              .y = y.view(),
                                              .transitions = steps[0],
                                              .old_log_probs = log_probs.span(),
                                              .advantages = advantages.span()};
    tempflow::policy_loss_rows(gpu, batch, v, {}, tempflow::clipped_grpo{}, gradient.view(),
                               std::span(policy_rows, rows));
  }
};

}  // namespace

TEST_CASE("an update is captured into a graph and replayed", "[cuda]") {
  update expected, replayed;
  expected.enqueue();
  const cudaStream_t stream = replayed.gpu.device().stream();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  replayed.enqueue();
  check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  const tempflow::batch_buffer<float> zeros(rows, columns);
  for (int round = 0; round < 3; ++round) {
    tempflow::copy_from_host(replayed.gpu, zeros.view(), replayed.gradient.view());
    check_cuda(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
    CHECK(support::same_bits(replayed.y.values(), expected.y.values()));
    CHECK(support::same_bits(replayed.gradient.values(), expected.gradient.values()));
    CHECK(replayed.log_probs.values() == expected.log_probs.values());
  }
  std::size_t nodes = 0;
  check_cuda(cudaGraphGetNodes(graph, nullptr, &nodes), "cudaGraphGetNodes");
  CHECK((nodes == 3 ||
         nodes == 4));  // a table of ids, the step, and the loss: one launch with clusters, else two
  check_cuda(cudaGraphExecDestroy(executable), "cudaGraphExecDestroy");
  check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
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
