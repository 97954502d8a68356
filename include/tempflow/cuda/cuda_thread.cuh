// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a kernel sees of the CUDA thread that runs it.

#if !defined(__CUDACC__)
#error "tempflow/cuda.cuh needs a CUDA compiler; programs without CUDA source include tempflow/cuda.hpp"
#endif

#include <cuda_runtime.h>

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "tempflow/core/scalar.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace tempflow::detail {

/// The calling thread, for the text of a kernel. Blocks lie along x, rows of them along y and z; threads of a
/// block are lanes along x, warps along y, rows of warps along z.
struct cuda_thread {
  __device__ int lane() const { return static_cast<int>(threadIdx.x); }

  /// Of a row of the block's, and how many there are.
  __device__ int warp() const { return static_cast<int>(threadIdx.y); }
  __device__ int warps() const { return static_cast<int>(blockDim.y); }
  __device__ int warp_in_block() const { return static_cast<int>(threadIdx.z * blockDim.y + threadIdx.y); }

  /// Of a row of blocks, and how many there are.
  __device__ index_t block() const { return blockIdx.x; }
  __device__ index_t blocks() const { return gridDim.x; }

  /// The row of warps among all of the grid's; there may be more than were asked for.
  __device__ index_t row() const {
    return static_cast<index_t>(blockIdx.z * gridDim.y + blockIdx.y) * blockDim.z + threadIdx.z;
  }

  /// Shared memory of the block.
  __device__ std::byte* shared() const {
    extern __shared__ __align__(16) unsigned char tempflow_shared_memory[];
    return reinterpret_cast<std::byte*>(tempflow_shared_memory);
  }

  /// The same number, of which the compiler knows nothing: what follows from it is computed here, and not
  /// held in registers since before a loop.
  __device__ index_t launder(index_t number) const {
    asm volatile("" : "+l"(number));
    return number;
  }
  __device__ std::uint32_t launder(std::uint32_t number) const {
    asm volatile("" : "+r"(number));
    return number;
  }

  __device__ void sync_warp() const { __syncwarp(); }
  __device__ void sync_block() const { __syncthreads(); }

  /// The value of the lane whose number differs in the bits of `mask`.
  template <class Value>
  __device__ Value shuffle_xor(Value value, int mask) const {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }

  /// The value of a lane.
  template <class Value>
  __device__ Value shuffle(Value value, int from) const {
    return __shfl_sync(0xffffffffu, value, from);
  }

  /// Reads global memory, 16 bytes at once where there are as many, here and not elsewhere in the kernel's text.
  template <std::size_t Size>
  __device__ access_words<Size> read(const void* from) const {
    const std::size_t address = __cvta_generic_to_global(from);
    access_words<Size> words;
    if constexpr (Size == 8) {
      asm volatile("ld.global.v2.b32 {%0, %1}, [%2];"
                   : "=r"(words.value[0]), "=r"(words.value[1])
                   : "l"(address));
    } else {
      static_assert(Size % 16 == 0);
      for (std::size_t k = 0; k < Size / 16; ++k) {
        std::uint32_t* const to = words.value + 4 * k;
        asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "l"(address + 16 * k));
      }
    }
    return words;
  }

  /// The same for what no thread reads again: it takes no room in the cache of the multiprocessor.
  template <std::size_t Size>
  __device__ access_words<Size> read_once(const void* from) const {
    const std::size_t address = __cvta_generic_to_global(from);
    access_words<Size> words;
    if constexpr (Size == 8) {
      asm volatile("ld.global.L1::no_allocate.v2.b32 {%0, %1}, [%2];"
                   : "=r"(words.value[0]), "=r"(words.value[1])
                   : "l"(address));
    } else {
      static_assert(Size % 16 == 0);
      for (std::size_t k = 0; k < Size / 16; ++k) {
        std::uint32_t* const to = words.value + 4 * k;
        asm volatile("ld.global.L1::no_allocate.v4.b32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "l"(address + 16 * k));
      }
    }
    return words;
  }

  /// Bytes of a mask, on a boundary of as many.
  template <int Width>
  __device__ access_bytes<Width> read_bytes(const std::uint8_t* from) const {
    const std::size_t address = __cvta_generic_to_global(from);
    access_bytes<Width> bytes;
    if constexpr (Width == 2) {
      std::uint16_t both;
      asm volatile("ld.global.u16 %0, [%1];" : "=h"(both) : "l"(address));
      bytes.word[0] = both;
    } else if constexpr (Width == 4) {
      asm volatile("ld.global.b32 %0, [%1];" : "=r"(bytes.word[0]) : "l"(address));
    } else {
      static_assert(Width == 8);
      asm volatile("ld.global.v2.b32 {%0, %1}, [%2];"
                   : "=r"(bytes.word[0]), "=r"(bytes.word[1])
                   : "l"(address));
    }
    return bytes;
  }

  /// Has global memory brought to the cache of the device.
  __device__ void prefetch(const void* from) const {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(from)));
  }

  /// Writes to global memory at once. Spelt out, because compilers cut plain stores in four.
  template <std::size_t Size>
  __device__ void write(void* to, const access_words<Size>& words) const {
    const std::size_t address = __cvta_generic_to_global(to);
    if constexpr (Size % 16 == 0) {
      for (std::size_t k = 0; k < Size / 16; ++k) {
        asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address + 16 * k),
                     "r"(words.value[4 * k]), "r"(words.value[4 * k + 1]), "r"(words.value[4 * k + 2]),
                     "r"(words.value[4 * k + 3])
                     : "memory");
      }
    } else if constexpr (Size == 8) {
      asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(words.value[0]), "r"(words.value[1])
                   : "memory");
    } else {
      static_assert(Size == 4);
      asm volatile("st.global.b32 [%0], %1;" ::"l"(address), "r"(words.value[0]) : "memory");
    }
  }

  /// 16 bytes of shared memory at once.
  __device__ void write_shared(float* to, const float (&numbers)[4]) const {
    *reinterpret_cast<float4*>(to) = make_float4(numbers[0], numbers[1], numbers[2], numbers[3]);
  }
  __device__ void write_shared(double* to, const double (&numbers)[2]) const {
    *reinterpret_cast<double2*>(to) = make_double2(numbers[0], numbers[1]);
  }
  __device__ void read_shared(const float* from, float (&numbers)[4]) const {
    const float4 four = *reinterpret_cast<const float4*>(from);
    numbers[0] = four.x, numbers[1] = four.y, numbers[2] = four.z, numbers[3] = four.w;
  }
  __device__ void read_shared(const double* from, double (&numbers)[2]) const {
    const double2 two = *reinterpret_cast<const double2*>(from);
    numbers[0] = two.x, numbers[1] = two.y;
  }

  /// Whether it holds in all lanes of the warp.
  __device__ bool all(bool condition) const { return __all_sync(0xffffffffu, condition) != 0; }

  /// Counts the warp. True for the last of `expected`, which then sees what the others saw before they
  /// arrived; the counter is 0 again.
  __device__ bool is_last_to_arrive(std::uint32_t* counter, std::uint32_t expected) const {
    std::uint32_t before = 0;
    if (lane() == 0) {
      asm volatile("atom.add.release.gpu.global.u32 %0, [%1], 1;"
                   : "=r"(before)
                   : "l"(__cvta_generic_to_global(counter))
                   : "memory");
    }
    before = __shfl_sync(0xffffffffu, before, 0);
    if (before + 1 != expected) return false;
    asm volatile("fence.acq_rel.gpu;" ::: "memory");
    __syncwarp();  // what lane 0 acquired, all lanes see
    if (lane() == 0) *counter = 0;
    return true;
  }

  /// Sets a flag that other threads may set, too.
  __device__ void set(std::uint32_t* flag) const {
    asm volatile("st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(__cvta_generic_to_global(flag)) : "memory");
  }

  /// Stored elements as what they are computed in, exactly; and numbers as the nearest elements: the device's
  /// own instructions for two elements in a word, which differ from core/scalar.hpp in the payload of a NaN
  /// at most.
  template <class T, int Width>
  __device__ void load(const access_words<Width * sizeof(T)>& words, compute_t<T> (&numbers)[Width]) const {
    if constexpr (std::same_as<T, bfloat16>) {
      for (int j = 0; j < Width; j += 2) {
        numbers[j] = __uint_as_float(words.value[j / 2] << 16);
        numbers[j + 1] = __uint_as_float(words.value[j / 2] & 0xffff0000u);
      }
    } else if constexpr (std::same_as<T, float16>) {
      for (int j = 0; j < Width; j += 2) {
        asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
            : "=f"(numbers[j]), "=f"(numbers[j + 1])
            : "r"(words.value[j / 2]));
      }
    } else {
      const auto elements = bit_cast<elements_of<T, Width>>(words);
      for (int j = 0; j < Width; ++j) numbers[j] = elements.value[j];
    }
  }
  template <class T, class Real, int Width>
  __device__ access_words<Width * sizeof(T)> store(const Real (&numbers)[Width]) const {
    if constexpr (std::same_as<Real, float> && std::same_as<T, float16>) {
      access_words<Width * sizeof(T)> words;
      for (int j = 0; j < Width; j += 2) words.value[j / 2] = to_halves(numbers[j], numbers[j + 1]);
      return words;
#if __CUDA_ARCH__ >= 800
    } else if constexpr (std::same_as<Real, float> && std::same_as<T, bfloat16>) {
      access_words<Width * sizeof(T)> words;
      for (int j = 0; j < Width; j += 2) {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;"  // the upper half first
            : "=r"(words.value[j / 2])
            : "f"(numbers[j + 1]), "f"(numbers[j]));
      }
      return words;
#endif
    } else {
      elements_of<T, Width> elements;
      for (int j = 0; j < Width; ++j) elements.value[j] = tempflow::store<T>(numbers[j]);
      return bit_cast<access_words<Width * sizeof(T)>>(elements);
    }
  }

  // Clusters of blocks; alone where the device has none.
#if __CUDA_ARCH__ >= 900
  __device__ int block_in_cluster() const { return static_cast<int>(__clusterRelativeBlockRank()); }
  __device__ void arrive_cluster() const { __cluster_barrier_arrive(); }
  __device__ void arrive_cluster_relaxed() const { __cluster_barrier_arrive_relaxed(); }
  __device__ void wait_cluster() const { __cluster_barrier_wait(); }

  /// The shared memory of another block at the same place.
  template <class T>
  __device__ const T* in_block(int rank, const T* own) const {
    return static_cast<const T*>(__cluster_map_shared_rank(own, static_cast<unsigned>(rank)));
  }
#else
  __device__ int block_in_cluster() const { return 0; }
  __device__ void arrive_cluster() const { __syncthreads(); }
  __device__ void arrive_cluster_relaxed() const {}
  __device__ void wait_cluster() const {}
  template <class T>
  __device__ const T* in_block(int, const T* own) const {
    return own;
  }
#endif
  __device__ void sync_cluster() const {
    arrive_cluster();
    wait_cluster();
  }

 private:
  template <class T, int Width>
  struct elements_of {
    T value[Width];
  };

  __device__ static std::uint32_t to_halves(float low, float high) {
    std::uint32_t word;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
#else
    asm("{ .reg .b16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high}; }"
        : "=r"(word)
        : "f"(low), "f"(high));
#endif
    return word;
  }
};

}  // namespace tempflow::detail
