// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Every kernel that ships, for each storage type: kernels.py looks at what compilers make of them.

#include "tempflow/cuda.cuh"

namespace tf = tempflow;

template <class T>
void all_kernels(const tf::cuda_backend& gpu, tf::batch_view<T> batch, std::span<double> numbers,
                 const std::vector<tf::noise_id>& ids, const std::vector<tf::transition>& steps,
                 std::span<tf::policy_row> rows, const tf::policy_batch<T>& policy, std::span<T> weights) {
  tf::fill_noise(gpu, {tempflow::noise_key{}, ids}, batch);
  tf::ode_step(gpu, batch, batch, steps, batch);
  tf::step(gpu, batch, batch, steps, {tempflow::noise_key{}, ids}, batch, numbers);
  tf::branch_step(gpu, batch, batch, steps, steps, {tempflow::noise_key{}, ids}, batch, batch, numbers);
  tf::log_prob(gpu, batch, batch, batch, steps, numbers);
  tf::log_prob(gpu, policy, batch, numbers);
  tf::policy_loss_rows(gpu, policy, batch, batch, tf::clipped_grpo{}, batch, rows);
  tf::policy_loss_rows(gpu, policy, batch, batch, batch, tf::grpo_guard{}, batch, rows);
  tf::put_back(gpu, batch, tf::element_mask{}, batch);
  tf::gather_rows(gpu, batch, std::span<const tf::index_t>{}, batch);
  tf::ema_update(gpu, weights, weights, 0.9);
  tf::guide(gpu, batch, batch, {}, batch);
  tf::guide_gradient(gpu, batch, {}, {}, {}, batch, batch);
}

template void all_kernels(const tf::cuda_backend&, tf::batch_view<float>, std::span<double>,
                          const std::vector<tf::noise_id>&, const std::vector<tf::transition>&,
                          std::span<tf::policy_row>, const tf::policy_batch<float>&, std::span<float>);
template void all_kernels(const tf::cuda_backend&, tf::batch_view<tf::bfloat16>, std::span<double>,
                          const std::vector<tf::noise_id>&, const std::vector<tf::transition>&,
                          std::span<tf::policy_row>, const tf::policy_batch<tf::bfloat16>&,
                          std::span<tf::bfloat16>);
template void all_kernels(const tf::cuda_backend&, tf::batch_view<tf::float16>, std::span<double>,
                          const std::vector<tf::noise_id>&, const std::vector<tf::transition>&,
                          std::span<tf::policy_row>, const tf::policy_batch<tf::float16>&,
                          std::span<tf::float16>);

// All but the sort, which is the toolkit's.
void advantages(const tf::cuda_backend& gpu) {
  gpu.for_each_index(1, tf::detail::number_samples{});
  gpu.device().launch(tf::detail::global_std_kernel{}, {});
  gpu.for_each_index(1, tf::detail::advantages_of_group{});
}
