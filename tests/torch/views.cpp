// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include <ATen/ATen.h>

#include <memory>
#include <tempflow/interop/torch.hpp>
#include <tempflow/interop/torch_threads.hpp>
#include <tempflow/tempflow.hpp>

#include "support/catch.hpp"

using namespace tempflow;

TEST_CASE("torch: a tensor of each storage type is viewed where it lies", "[torch]") {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor tensor = at::randn({3, 2, 4}, at::TensorOptions(at::kFloat)).to(dtype);
    with_storage_type(dtype, [&]<class T>(std::type_identity<T>) {
      const auto batch = batch_view_of<const T>(tensor, 3, 8);
      CHECK(static_cast<const void*>(batch.data()) == tensor.data_ptr());
      CHECK(batch.row_stride() == 8);
      for (index_t i = 0; i < 3; ++i) {
        for (index_t e = 0; e < 8; ++e) {
          CHECK(static_cast<double>(load(batch.row(i)[e])) == tensor[i].flatten()[e].item<double>());
        }
      }
    });
  }
  CHECK_THROWS_AS(with_storage_type(at::kInt, [](auto) {}), value_error);
}

TEST_CASE("torch: rows keep their stride, what is not packed is refused", "[torch]") {
  const at::Tensor big = at::zeros({4, 10});
  const at::Tensor slice = big.slice(1, 2, 8);
  CHECK(batch_view_of<float>(slice).row_stride() == 10);
  CHECK(batch_view_of<float>(slice).row(1) == big.data_ptr<float>() + 12);
  const at::Tensor one = at::zeros({1, 3, 1, 2}).transpose(0, 2);
  CHECK(batch_view_of<float>(one).columns() == 6);
  const at::Tensor permuted = at::zeros({2, 3, 4}).transpose(1, 2),
                   expanded = at::zeros({1, 3}).expand({4, 3});
  CHECK_THROWS_AS(batch_view_of<float>(permuted), shape_error);
  CHECK_THROWS_AS(batch_view_of<const float>(expanded), shape_error);
  const at::Tensor none = at::zeros({0, 5}), scalar = at::zeros({});
  CHECK(batch_view_of<float>(none).rows() == 0);
  CHECK_THROWS_AS(batch_view_of<float>(scalar), shape_error);
  CHECK_THROWS_WITH(batch_view_of<float>(slice, 4, 7), Catch::Contains("shape (4, 6), strides (10, 1)") &&
                                                           Catch::Contains("expected 4 samples of 7"));
}

TEST_CASE("torch: dtype, device and autograd are looked at", "[torch]") {
  at::Tensor tensor = at::zeros({2, 2});
  CHECK_THROWS_AS(batch_view_of<double>(tensor), value_error);
  CHECK_THROWS_WITH(batch_view_of<const float>(tensor, at::kCUDA),
                    Catch::Contains("on cpu") && Catch::Contains("expected on cuda"));
  const at::Tensor undefined, sparse = at::zeros({2, 2}).to_sparse(), negated = at::_neg_view(tensor);
  CHECK_THROWS_AS(batch_view_of<float>(undefined), memory_error);
  CHECK_THROWS_AS(batch_view_of<float>(sparse), memory_error);
  CHECK_THROWS_AS(batch_view_of<const float>(negated), memory_error);
  tensor.set_requires_grad(true);
  CHECK_THROWS_WITH(batch_view_of<float>(tensor), Catch::Contains("requires grad"));
  const at::NoGradGuard no_grad;
  CHECK(batch_view_of<float>(tensor).rows() == 2);
}

TEST_CASE("torch: a batch's tensor keeps its memory", "[torch]") {
  auto owner = std::make_shared<batch_buffer<float>>(2, 6);
  const std::weak_ptr<batch_buffer<float>> watched = owner;
  owner->view().row(1)[5] = 7;
  at::Tensor tensor = tensor_of(owner->view(), {2, 3}, owner);
  owner.reset();
  CHECK(tensor.sizes() == at::IntArrayRef({2, 2, 3}));
  CHECK(tensor[1][1][2].item<float>() == 7);
  tensor = at::Tensor();
  CHECK(watched.expired());
  batch_buffer<double> moved(2, 4);
  CHECK(tensor_of(std::move(moved), {4}).scalar_type() == at::kDouble);
  batch_buffer<float> other(2, 4);
  CHECK_THROWS_AS(tensor_of(other.view(), {3}, 0), shape_error);
  const at::Tensor part = tensor_of(batch_view<float>(other.view().data(), 2, 3, 4), {3}, 0);
  CHECK(part.stride(0) == 4);
}

TEST_CASE("torch: on torch's threads results have the bits of the cpu backend", "[torch]") {
  const auto on_torch = torch_backend();
  CHECK(on_torch.threads() == at::get_num_threads());
  const transition step_of{.alpha = 0.9, .beta = -0.1, .std = 0.3};
  std::vector<noise_id> ids;
  for (std::uint32_t i = 0; i < 8; ++i) ids.push_back({.prompt = i});
  batch_buffer<float> x(8, 100'000), v(8, 100'000), y(8, 100'000), z(8, 100'000);
  fill_noise(on_torch, {noise_key{1, 0}, ids}, x);
  fill_noise(on_torch, {noise_key{2, 0}, ids}, v);
  std::vector<double> a(8), b(8);
  step(on_torch, x, v, step_of, {noise_key{3, 0}, ids}, y.view(), a);
  step(cpu_backend(2), x, v, step_of, {noise_key{3, 0}, ids}, z.view(), b);
  CHECK(a == b);
  CHECK(std::equal(y.view().data(), y.view().data() + 800'000, z.view().data()));
}
