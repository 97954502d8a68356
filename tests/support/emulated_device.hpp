// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A device that runs kernels on the host, thread by thread: the text, the geometry of the launches, the tables
// of rows and the workspace are those of a CUDA device, so machines without one test all but the hardware.
//
// Each thread of a cluster is a fiber that runs until it waits for others: at a warp's, a block's or a
// cluster's barrier. Memory of the device lies in memory of its own, between guards: kernels must not touch
// what the host gave, and the host must not read what the device owns.

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace support {

using tempflow::index_t;

/// The fibers of a cluster and where they wait.
class emulated_cluster {
 public:
  emulated_cluster(const tempflow::launch_shape& shape, index_t cluster)
      : shape_(shape),
        first_block_(cluster * shape.cluster),
        threads_(static_cast<std::size_t>(shape.cluster * shape.warps * tempflow::warp_lanes)),
        warps_(static_cast<std::size_t>(shape.cluster * shape.warps)),
        blocks_(static_cast<std::size_t>(shape.cluster)) {
    for (auto& block : blocks_)
      block.shared.assign(static_cast<std::size_t>(shape.shared_bytes) / 8 + 2, 0xa5a5a5a5a5a5a5a5u);
  }

  /// Runs body(thread) in a fiber for each thread of the cluster.
  void run(const std::function<void(int)>& body) {
    body_ = &body;
    constexpr std::size_t stack = 64 * 1024;
    std::vector<std::unique_ptr<char[]>> stacks;
    for (std::size_t t = 0; t < threads_.size(); ++t) {
      stacks.emplace_back(new char[stack]);
      auto& fiber = threads_[t];
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = stacks.back().get();
      fiber.context.uc_stack.ss_size = stack;
      fiber.context.uc_link = &scheduler_;
      const auto self = reinterpret_cast<std::uintptr_t>(this);
      makecontext(&fiber.context, reinterpret_cast<void (*)()>(&start), 3, static_cast<unsigned>(self >> 32),
                  static_cast<unsigned>(self), static_cast<unsigned>(t));
    }
    for (std::size_t left = threads_.size(); left > 0;) {
      bool moved = false;
      for (std::size_t t = 0; t < threads_.size(); ++t) {
        auto& fiber = threads_[t];
        if (fiber.done || (fiber.waits_at != nullptr && fiber.waits_at->round == fiber.round)) continue;
        fiber.waits_at = nullptr;
        running_ = static_cast<int>(t);
        swapcontext(&scheduler_, &fiber.context);
        moved = true;
        if (fiber.done) --left;
      }
      if (!moved) throw std::logic_error("emulated device: threads wait for each other");
    }
  }

  struct barrier {
    int arrived = 0;
    std::uint64_t round = 0;
  };

  /// Waits until `count` threads have come to the barrier.
  void wait(barrier& at, int count) {
    arrive(at, count);
    depart();
  }
  void arrive(barrier& at, int count) {
    auto& fiber = threads_[static_cast<std::size_t>(running_)];
    fiber.round = at.round;
    fiber.pending = &at;
    if (++at.arrived == count) at.arrived = 0, ++at.round;
  }
  void depart() {
    auto& fiber = threads_[static_cast<std::size_t>(running_)];
    fiber.waits_at = fiber.pending;
    if (fiber.waits_at->round == fiber.round) swapcontext(&fiber.context, &scheduler_);
  }

  struct warp_state {
    barrier meeting;
    std::uint64_t exchanged[32] = {};
  };
  struct block_state {
    barrier meeting;
    std::vector<std::uint64_t> shared;
  };

  const tempflow::launch_shape& shape() const { return shape_; }
  index_t first_block() const { return first_block_; }
  warp_state& warp(int thread) { return warps_[static_cast<std::size_t>(thread / 32)]; }
  block_state& block(int rank) { return blocks_[static_cast<std::size_t>(rank)]; }
  barrier& meeting() { return meeting_; }

 private:
  struct fiber_state {
    ucontext_t context;
    bool done = false;
    barrier* waits_at = nullptr;
    barrier* pending = nullptr;
    std::uint64_t round = 0;
  };

  static void start(unsigned high, unsigned low, unsigned thread) {
    auto* const self = reinterpret_cast<emulated_cluster*>((std::uintptr_t{high} << 32) | low);
    (*self->body_)(static_cast<int>(thread));
    self->threads_[thread].done = true;
  }

  tempflow::launch_shape shape_;
  index_t first_block_;
  std::vector<fiber_state> threads_;
  std::vector<warp_state> warps_;
  std::vector<block_state> blocks_;
  barrier meeting_;
  ucontext_t scheduler_;
  const std::function<void(int)>* body_ = nullptr;
  int running_ = 0;
};

/// What a kernel sees of an emulated thread.
class emulated_thread {
 public:
  emulated_thread(emulated_cluster& cluster, int thread) : cluster_(cluster), thread_(thread) {}

  int lane() const { return thread_ % 32; }
  int warps() const { return cluster_.shape().warps; }
  int warp() const { return thread_ / 32 % warps(); }
  index_t block() const { return cluster_.first_block() + block_in_cluster(); }
  int cluster_blocks() const { return cluster_.shape().cluster; }
  int block_in_cluster() const { return thread_ / 32 / warps(); }

  std::byte* shared() const {
    return reinterpret_cast<std::byte*>(cluster_.block(block_in_cluster()).shared.data());
  }
  template <class T>
  const T* in_block(int rank, const T* own) const {
    const auto offset = reinterpret_cast<const std::byte*>(own) - shared();
    return reinterpret_cast<const T*>(reinterpret_cast<const std::byte*>(cluster_.block(rank).shared.data()) +
                                      offset);
  }

  index_t launder(index_t number) const { return number; }
  void sync_warp() const { cluster_.wait(cluster_.warp(thread_).meeting, 32); }
  void sync_block() const { cluster_.wait(cluster_.block(block_in_cluster()).meeting, 32 * warps()); }
  void arrive_cluster() const { cluster_.arrive(cluster_.meeting(), 32 * warps() * cluster_blocks()); }
  void wait_cluster() const { cluster_.depart(); }
  void sync_cluster() const {
    arrive_cluster();
    wait_cluster();
  }

  template <class Value>
  Value shuffle_xor(Value value, int mask) const {
    return exchange(value, lane() ^ mask);
  }
  bool all(bool condition) const {
    bool every = true;
    for (int l = 0; l < 32; ++l) every = exchange(condition, l) && every;
    return every;
  }
  bool is_last_to_arrive(std::uint32_t* counter, std::uint32_t expected) const {
    std::uint32_t before = 0;
    sync_warp();
    if (lane() == 0) before = (*counter)++;
    before = exchange(before, 0);
    if (before + 1 != expected) return false;
    if (lane() == 0) *counter = 0;
    return true;
  }

  template <class T>
  tempflow::compute_t<T> load(T element) const {
    return tempflow::load(element);
  }
  template <class T, class Real>
  T store(Real real) const {
    return tempflow::store<T>(real);
  }

  template <std::size_t Size>
  tempflow::detail::access_words<Size> read(const void* from) const {
    check_boundary<Size>(from);
    tempflow::detail::access_words<Size> words;
    std::memcpy(&words, from, Size);
    return words;
  }
  template <std::size_t Size>
  void write(void* to, const tempflow::detail::access_words<Size>& words) const {
    check_boundary<Size>(to);
    std::memcpy(to, &words, Size);
  }

 private:
  template <class Value>
  Value exchange(Value value, int from) const {
    static_assert(sizeof(Value) <= 8);
    auto& warp = cluster_.warp(thread_);
    sync_warp();
    std::memcpy(&warp.exchanged[lane()], &value, sizeof value);
    sync_warp();
    std::memcpy(&value, &warp.exchanged[from], sizeof value);
    return value;
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

/// The device; copies share its memory. Everything is done when a call returns.
class emulated_device {
 public:
  /// Clusters of up to this many blocks; 1 for a device without them, 0 for one too small for such blocks.
  explicit emulated_device(int clusters = 16) : state_(std::make_shared<state>()) {
    state_->clusters = clusters;
  }

  template <class Kernel>
  void launch(const Kernel& kernel, const tempflow::launch_shape& shape) const {
    if (shape.blocks < 1 || shape.warps < 1 || shape.warps > Kernel::most_warps ||
        shape.blocks % shape.cluster != 0 || shape.cluster > std::max(state_->clusters, 1)) {
      throw std::logic_error("emulated device: a launch that no device takes");
    }
    ++state_->launches;
    // The last blocks first: nothing may depend on the order.
    for (index_t c = shape.blocks / shape.cluster; c-- > 0;) {
      emulated_cluster cluster(shape, c);
      cluster.run([&](int thread) { kernel(emulated_thread(cluster, thread)); });
    }
  }
  template <class Kernel>
  int largest_cluster(const Kernel&, const tempflow::launch_shape&) const {
    return state_->clusters;
  }

  void* allocate(std::size_t bytes) const {
    ++state_->allocations;
    auto memory = std::make_unique<std::byte[]>(bytes + 2 * guard);
    std::memset(memory.get(), 0x5a, bytes + 2 * guard);
    std::byte* at = memory.get() + guard;
    at += (256 - reinterpret_cast<std::uintptr_t>(at) % 256) % 256;
    state_->blocks[at] = {bytes, std::move(memory)};
    return at;
  }
  void release(void* memory) const noexcept { state_->blocks.erase(static_cast<std::byte*>(memory)); }
  void clear(void* memory, std::size_t bytes) const { std::memset(memory, 0, bytes); }
  void copy_rows(void* to, index_t to_stride, const void* from, index_t from_stride, index_t row_bytes,
                 index_t rows) const {
    for (index_t i = 0; i < rows; ++i) {
      std::memcpy(static_cast<char*>(to) + i * to_stride, static_cast<const char*>(from) + i * from_stride,
                  static_cast<std::size_t>(row_bytes));
    }
  }
  void copy(void* to, const void* from, std::size_t bytes) const { std::memcpy(to, from, bytes); }
  void synchronize() const { ++state_->waits; }
  bool capturing() const { return state_->capturing; }
  tempflow::memory_kind memory_of(const void* address) const {
    const auto at = static_cast<const std::byte*>(address);
    if (at >= state_->pinned.data() && at < state_->pinned.data() + state_->pinned.size()) {
      return tempflow::memory_kind::pinned;
    }
    auto found = state_->blocks.upper_bound(const_cast<std::byte*>(at));
    if (found == state_->blocks.begin()) return tempflow::memory_kind::host;
    --found;
    return at < found->first + found->second.bytes ? tempflow::memory_kind::device
                                                   : tempflow::memory_kind::host;
  }

  // For tests.
  double* pinned() const { return reinterpret_cast<double*>(state_->pinned.data()); }
  void capture(bool on) const { state_->capturing = on; }
  int launches() const { return state_->launches; }
  int allocations() const { return state_->allocations; }
  int waits() const { return state_->waits; }
  std::size_t blocks() const { return state_->blocks.size(); }

  /// Whether nothing was written beyond any block.
  bool guards_stand() const {
    for (const auto& [at, owned] : state_->blocks) {
      for (const std::byte* p = owned.memory.get(); p < at; ++p) {
        if (*p != std::byte{0x5a}) return false;
      }
      for (const std::byte* p = at + owned.bytes; p < owned.memory.get() + owned.bytes + 2 * guard; ++p) {
        if (*p != std::byte{0x5a}) return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::size_t guard = 512;

  struct allocation {
    std::size_t bytes;
    std::unique_ptr<std::byte[]> memory;
  };
  struct state {
    std::map<std::byte*, allocation> blocks;
    int clusters = 16, launches = 0, allocations = 0, waits = 0;
    bool capturing = false;
    std::vector<std::byte> pinned = std::vector<std::byte>(4096);  // host memory that the device reaches
  };

  std::shared_ptr<state> state_;
};

using emulated_backend = tempflow::device_backend<emulated_device>;

}  // namespace support
