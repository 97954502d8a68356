// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a kernel sees of a thread of an emulated device: cuda_thread's functions (cuda/cuda_thread.cuh).

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "support/emulated_cluster.hpp"
#include "tempflow/core/scalar.hpp"

namespace support {

/// A thread of a cluster.
class emulated_thread {
 public:
  emulated_thread(emulated_cluster& cluster, int thread) : cluster_(cluster), thread_(thread) {}

  int lane() const { return thread_ % 32; }
  int warp() const { return warp_in_block() % warps(); }
  int warps() const { return cluster_.shape().warps; }
  int warp_in_block() const { return thread_ / 32 % cluster_.block_warps(); }
  index_t block() const { return cluster_.first_block() + block_in_cluster(); }
  index_t blocks() const { return cluster_.shape().blocks; }
  int block_in_cluster() const { return thread_ / 32 / cluster_.block_warps(); }
  index_t row() const {
    return cluster_.row_of_blocks() * cluster_.shape().warp_rows + warp_in_block() / warps();
  }

  std::byte* shared() const { return cluster_.shared_of(block_in_cluster()); }
  template <class T>
  const T* in_block(int rank, const T* own) const {
    const auto offset = reinterpret_cast<const std::byte*>(own) - shared();
    return reinterpret_cast<const T*>(cluster_.shared_of(rank) + offset);
  }

  index_t launder(index_t number) const { return number; }
  std::uint32_t launder(std::uint32_t number) const { return number; }
  void sync_warp() const { cluster_.wait(cluster_.warp(thread_).meeting, 32); }
  void sync_block() const {
    cluster_.wait(cluster_.block(block_in_cluster()).meeting, 32 * cluster_.block_warps());
  }
  void arrive_cluster() const { cluster_.arrive_cluster(threads_of_cluster(), false); }
  void arrive_cluster_relaxed() const { cluster_.arrive_cluster(threads_of_cluster(), true); }
  void wait_cluster() const { cluster_.depart_cluster(); }
  void sync_cluster() const {
    arrive_cluster();
    wait_cluster();
  }

  template <class Value>
  Value shuffle_xor(Value value, int mask) const {
    return exchange(value, lane() ^ mask);
  }
  template <class Value>
  Value shuffle(Value value, int from) const {
    return exchange(value, from);
  }
  bool all(bool condition) const {
    bool every = true;
    for (int l = 0; l < 32; ++l) every = exchange(condition, l) && every;
    return every;
  }
  bool is_last_to_arrive(std::uint32_t* counter, std::uint32_t expected) const {
    std::uint32_t before = 0;
    if (lane() == 0) before = std::atomic_ref(*counter).fetch_add(1, std::memory_order_acq_rel);
    before = exchange(before, 0);
    if (before + 1 != expected) return false;
    sync_warp();
    if (lane() == 0) *counter = 0;
    return true;
  }

  void set(std::uint32_t* flag) const { std::atomic_ref(*flag).store(1, std::memory_order_relaxed); }

  template <class T, int Width>
  void load(const tempflow::detail::access_words<Width * sizeof(T)>& words,
            tempflow::compute_t<T> (&numbers)[Width]) const {
    T elements[Width];
    std::memcpy(static_cast<void*>(elements), &words, sizeof elements);
    for (int j = 0; j < Width; ++j) numbers[j] = tempflow::load(elements[j]);
  }
  template <class T, class Real, int Width>
  tempflow::detail::access_words<Width * sizeof(T)> store(const Real (&numbers)[Width]) const {
    T elements[Width];
    for (int j = 0; j < Width; ++j) elements[j] = tempflow::store<T>(numbers[j]);
    tempflow::detail::access_words<Width * sizeof(T)> words;
    std::memcpy(&words, elements, sizeof elements);
    return words;
  }

  template <std::size_t Size>
  tempflow::detail::access_words<Size> read(const void* from) const {
    check_boundary<Size>(from);
    tempflow::detail::access_words<Size> words;
    std::memcpy(&words, from, Size);
    return words;
  }
  template <std::size_t Size>
  tempflow::detail::access_words<Size> read_once(const void* from) const {
    return read<Size>(from);
  }
  template <int Width>
  tempflow::detail::access_bytes<Width> read_bytes(const std::uint8_t* from) const {
    check_boundary<Width>(from);
    tempflow::detail::access_bytes<Width> bytes{};
    for (int j = 0; j < Width; ++j) {
      const std::uint32_t byte = from[j];
      bytes.word[j / 4] |= byte << (j % 4 * 8);
    }
    return bytes;
  }
  template <std::size_t Size>
  void write(void* to, const tempflow::detail::access_words<Size>& words) const {
    check_boundary<Size>(to);
    std::memcpy(to, &words, Size);
  }
  void prefetch(const void*) const {}
  template <class Real, int Count>
  void write_shared(Real* to, const Real (&numbers)[Count]) const {
    check_boundary<sizeof numbers>(to);
    for (int j = 0; j < Count; ++j) to[j] = numbers[j];
  }
  template <class Real, int Count>
  void read_shared(const Real* from, Real (&numbers)[Count]) const {
    check_boundary<sizeof numbers>(from);
    for (int j = 0; j < Count; ++j) numbers[j] = from[j];
  }

 private:
  int threads_of_cluster() const { return 32 * cluster_.block_warps() * cluster_.shape().cluster; }

  template <class Value>
  Value exchange(Value value, int from) const {
    static_assert(sizeof(Value) <= 8);
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    word = exchange_words(cluster_.warp(thread_).exchanged, word, from);
    std::memcpy(&value, &word, sizeof value);
    return value;
  }
  TEMPFLOW_TEST_UNSEEN std::uint64_t exchange_words(std::uint64_t (&of_warp)[32], std::uint64_t word,
                                                    int from) const {
    cluster_.meet_warp(thread_);
    of_warp[lane()] = word;
    cluster_.meet_warp(thread_);
    return of_warp[from];
  }

  template <std::size_t Size>
  static void check_boundary(const void* address) {
    if (reinterpret_cast<std::uintptr_t>(address) % (Size < 16 ? Size : 16) != 0) {
      throw std::logic_error("emulated device: an access that is not on its boundary");
    }
  }

  emulated_cluster& cluster_;
  int thread_;
};

}  // namespace support
