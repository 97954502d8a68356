// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// interop/torch_cuda.hpp on a GPU: compiled everywhere where nvcc and a torch with CUDA are, run where a GPU is.

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/torch.h>

#include <tempflow/cuda.cuh>
#include <tempflow/interop/torch_cuda.hpp>
#include <tempflow/interop/torch_loss.hpp>

#include "support/catch.hpp"

using namespace tempflow;

namespace {

constexpr index_t rows = 6, elements = 4 * 30 * 31;
constexpr transition step_of{.alpha = 0.9, .beta = -0.1, .std = 0.3};

bool there_is_a_gpu() {
  if (torch::cuda::is_available()) return true;
  WARN("skipped: no GPU");
  return false;
}

std::vector<noise_id> ids() {
  std::vector<noise_id> all(rows);
  for (index_t i = 0; i < rows; ++i) all[static_cast<std::size_t>(i)].prompt = static_cast<std::uint32_t>(i);
  return all;
}

std::size_t allocated() {
  return static_cast<std::size_t>(
      c10::cuda::CUDACachingAllocator::getDeviceStats(0).allocated_bytes[0].current);
}

}  // namespace

TEST_CASE("torch cuda: a step on torch's stream has the CPU's bits", "[torch]") {
  if (!there_is_a_gpu()) return;
  const at::Tensor x = at::randn({rows, 4, 30, 31}), v = at::randn_like(x), y = at::empty_like(x);
  const auto drawn = ids();
  std::vector<double> log_probs(rows), on_host(rows);
  step(cpu_backend(1), batch_view_of<const float>(x), batch_view_of<const float>(v), step_of,
       noise_source({1, 2}, drawn), batch_view_of<float>(y), on_host);
  const c10::cuda::CUDAStreamGuard side(c10::cuda::getStreamFromPool());
  const at::Tensor x_gpu = x.cuda(), v_gpu = v.cuda(), y_gpu = at::empty_like(x_gpu);
  const auto gpu = torch_backend_on(x_gpu);
  CHECK(gpu.device().stream() == side.current_stream().stream());
  step(gpu, batch_view_of<const float>(x_gpu, at::kCUDA), batch_view_of<const float>(v_gpu, at::kCUDA),
       step_of, noise_source({1, 2}, drawn), batch_view_of<float>(y_gpu, at::kCUDA), log_probs);
  CHECK(at::equal(y_gpu.cpu(), y));
  for (std::size_t i = 0; i < log_probs.size(); ++i)
    CHECK(log_probs[i] == Catch::Approx(on_host[i]).epsilon(1e-14));
}

TEST_CASE("torch cuda: buffers and the workspace are torch's memory, and buffers become tensors", "[torch]") {
  if (!there_is_a_gpu()) return;
  const std::size_t before = allocated();
  {
    const at::Tensor like = at::empty({1}, at::kCUDA);
    const auto gpu = torch_backend_on(like);
    auto buffer = make_buffer<float>(gpu, rows, elements);
    CHECK(allocated() >= before + sizeof(float) * rows * elements);
    const auto drawn = ids();
    fill_noise(gpu, noise_source({3, 4}, drawn), buffer.view());
    const float* const first = buffer.view().data();
    CHECK_THROWS_AS(tensor_of(make_buffer<float>(gpu, rows, elements), {4, 5}), shape_error);
    const at::Tensor noise = tensor_of(std::move(buffer), {4, 30, 31});
    CHECK(noise.data_ptr<float>() == first);
    CHECK(noise.is_cuda());
    const at::Tensor expected = at::empty({rows, 4, 30, 31});
    fill_noise(cpu_backend(1), noise_source({3, 4}, drawn), batch_view_of<float>(expected));
    CHECK(at::equal(noise.cpu(), expected));
  }
  CHECK(allocated() == before);
}

TEST_CASE("torch cuda: the loss's backward hands the CPU's gradient on", "[torch]") {
  if (!there_is_a_gpu()) return;
  const at::Tensor x = at::randn({rows, 4, 30, 31}), v = at::randn_like(x),
                   y = 0.9 * x - 0.1 * v + 0.3 * at::randn_like(x);
  const std::vector<double> old(rows, -0.5), advantages{1, -1, 2, 0.5, -2, 0.1};
  const clipped_grpo objective{.clip = {5, 5}};
  const auto gradient_on = [&](const auto& backend, at::DeviceType device) {
    const at::Tensor xs = x.to(device), ys = y.to(device),
                     vs = v.to(device, v.scalar_type(), false, true).requires_grad_();
    policy_batch<float> batch;
    batch.x = batch_view_of<const float>(xs, device);
    batch.y = batch_view_of<const float>(ys, device);
    batch.transitions = step_of;
    batch.old_log_probs = old;
    batch.advantages = advantages;
    policy_loss(backend, batch, vs, {}, objective).loss.backward();
    return vs.grad().cpu();
  };
  const at::Tensor somewhere = at::empty({1}, at::kCUDA);
  const at::Tensor expected = gradient_on(cpu_backend(1), at::kCPU);
  CHECK(at::allclose(gradient_on(torch_backend_on(somewhere), at::kCUDA), expected, 2e-7, 0));
  CHECK(expected.abs().max().item<float>() > 0);
}

TEST_CASE("torch cuda: operations are captured by torch's graphs", "[torch]") {
  if (!there_is_a_gpu()) return;
  const c10::cuda::CUDAStreamGuard side(c10::cuda::getStreamFromPool());
  const at::Tensor x = at::randn({rows, elements}, at::kCUDA), v = at::randn_like(x), y = at::empty_like(x),
                   log_probs = at::empty({rows}, at::device(at::kCUDA).dtype(at::kDouble));
  const auto gpu = torch_backend_on(x);
  const auto drawn = ids();
  const auto draw = [&] {
    step(gpu, batch_view_of<const float>(x, at::kCUDA), batch_view_of<const float>(v, at::kCUDA), step_of,
         noise_source({1, 2}, drawn), batch_view_of<float>(y, at::kCUDA),
         std::span(log_probs.data_ptr<double>(), static_cast<std::size_t>(rows)));
  };
  draw();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  draw();
  graph.capture_end();
  x.mul_(0.5);
  y.zero_();
  graph.replay();
  const at::Tensor replayed = y.clone(), scored = log_probs.clone();
  draw();
  CHECK(at::equal(replayed, y));
  CHECK(at::equal(scored, log_probs));
}

TEST_CASE("torch cuda: a tensor of the host is refused by name", "[torch]") {
  const at::Tensor on_host = at::zeros({2, 3});
  CHECK_THROWS_WITH(torch_backend_on(on_host), Catch::Matchers::ContainsSubstring("on cpu"));
  CHECK_THROWS_AS(torch_backend_on(at::Tensor()), memory_error);
  CHECK_THROWS_AS(batch_view_of<const float>(on_host, at::kCUDA), memory_error);
}
