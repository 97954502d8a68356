// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// How kernels are launched on a CUDA device.

#if !defined(__CUDACC__)
#error "tempflow/cuda.cuh needs a CUDA compiler; programs without CUDA source include tempflow/cuda.hpp"
#endif

#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "tempflow/cuda/cuda_device.hpp"
#include "tempflow/cuda/cuda_thread.cuh"

namespace tempflow {
namespace detail {

/// Every kernel of the library: blocks of up to max_warps warps, of which a multiprocessor takes
/// min_blocks.
template <class Kernel>
TEMPFLOW_HIDDEN __global__ void __launch_bounds__(Kernel::max_warps* warp_lanes, Kernel::min_blocks)
    run_kernel(const __grid_constant__ Kernel kernel) {
  kernel(cuda_thread{});
}

/// A launch of run_kernel<Kernel>.
struct cuda_launch {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute cluster{};

  cuda_launch(const launch_shape& shape, cudaStream_t stream) {
    const folded_rows rows = fold_rows(shape.rows);
    config.gridDim = {static_cast<unsigned>(shape.blocks), static_cast<unsigned>(rows.y),
                      static_cast<unsigned>(rows.z)};
    config.blockDim = {warp_lanes, static_cast<unsigned>(shape.warps),
                       static_cast<unsigned>(shape.warp_rows)};
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
    config.stream = stream;
    if (shape.cluster > 1) {
      cluster.id = cudaLaunchAttributeClusterDimension;
      cluster.val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
      config.attrs = &cluster;
      config.numAttrs = 1;
    }
  }
  cuda_launch(const cuda_launch&) = delete;
  cuda_launch& operator=(const cuda_launch&) = delete;
};

/// Shared memory of a block that needs no opt-in, and the largest cluster that does not.
inline constexpr index_t plain_shared_bytes = 48 * 1024;
inline constexpr int plain_cluster = 8;
inline constexpr index_t max_blocks = 0x7fffffff;

/// What a kernel may use on a device, once it is opted in.
struct kernel_limits {
  index_t shared_bytes = 0;  ///< of a block
  bool clusters = false;     ///< the device has them, and the kernel's code was made for one that has
};

/// Opts a kernel in to all that a device, the current one, has; once. Kernels are named by their
/// address.
TEMPFLOW_HIDDEN inline kernel_limits limits_of(const void* kernel, int device) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, kernel_limits> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find({device, kernel}); found != known.end()) return found->second;
  int shared_most = 0, has_clusters = 0;
  check_cuda(cudaDeviceGetAttribute(&shared_most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
             "cudaDeviceGetAttribute");
  check_cuda(cudaDeviceGetAttribute(&has_clusters, cudaDevAttrClusterLaunch, device),
             "cudaDeviceGetAttribute");
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "cudaFuncGetAttributes");
  const kernel_limits limits{.shared_bytes = shared_most - static_cast<index_t>(attributes.sharedSizeBytes),
                             .clusters = has_clusters != 0 && attributes.ptxVersion >= 90};
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(limits.shared_bytes)),
             "cudaFuncSetAttribute");
  if (limits.clusters) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
               "cudaFuncSetAttribute");
  }
  known[{device, kernel}] = limits;
  return limits;
}

/// Tries which clusters of such blocks a device, the current one, has room for.
TEMPFLOW_HIDDEN inline int find_largest_cluster(const void* kernel, int device, launch_shape shape) {
  const kernel_limits limits = limits_of(kernel, device);
  if (shape.shared_bytes > limits.shared_bytes) return 0;
  if (!limits.clusters) return 1;
  for (const int size : {16, 8, 4, 2}) {
    shape.cluster = size;
    shape.blocks = size;
    shape.rows = 1;
    const cuda_launch launch(shape, nullptr);
    int at_once = 0;
    if (cudaOccupancyMaxActiveClusters(&at_once, kernel, &launch.config) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());  // more than this device takes
    } else if (at_once > 0) {
      return size;
    }
  }
  return 1;
}

/// The same, tried once for each device, kernel and shape.
TEMPFLOW_HIDDEN inline int largest_cluster_of(const void* kernel, int device, const launch_shape& shape) {
  static std::mutex mutex;
  static std::map<std::tuple<int, const void*, int, index_t>, int> known;
  const std::lock_guard lock(mutex);
  const std::tuple key{device, kernel, shape.warps, shape.shared_bytes};
  if (const auto found = known.find(key); found != known.end()) return found->second;
  return known[key] = find_largest_cluster(kernel, device, shape);
}

}  // namespace detail

/// As a launch of run_kernel<Kernel>. Not inlined, so that C++ sources find it in what they link; hidden, so
/// that each shared library launches its own kernels, which were made for its own architectures.
template <class Kernel>
TEMPFLOW_NOINLINE void cuda_device::launch(const Kernel& kernel, const launch_shape& shape) const {
  detail::check_kernel<Kernel>();
  const auto* const entry = reinterpret_cast<const void*>(&detail::run_kernel<Kernel>);
  if (shape.blocks > detail::max_blocks) {
    throw shape_error(detail::message("cuda_device: a launch of ", shape.blocks,
                                      " blocks, a grid has at most ", detail::max_blocks));
  }
  const auto current = make_current();
  if (shape.shared_bytes > detail::plain_shared_bytes || shape.cluster > detail::plain_cluster) {
    static_cast<void>(detail::limits_of(entry, id_));
  }
  const detail::cuda_launch launch(shape, stream_);
  void* parameters[] = {const_cast<Kernel*>(&kernel)};  // which are copied
  check_cuda(cudaLaunchKernelExC(&launch.config, entry, parameters), "cudaLaunchKernelExC");
}

/// Asked of the device once for each shape.
template <class Kernel>
TEMPFLOW_NOINLINE int cuda_device::largest_cluster(const Kernel&, const launch_shape& shape) const {
  const auto current = make_current();
  return detail::largest_cluster_of(reinterpret_cast<const void*>(&detail::run_kernel<Kernel>), id_, shape);
}

}  // namespace tempflow
