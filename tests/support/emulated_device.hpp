// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A device that runs kernels on the host, thread by thread: the text, the geometry of the launches, the tables
// of rows and the workspace are those of a CUDA device, so machines without one test all but the hardware.
//
// Memory of the device lies in memory of its own, between guards: kernels must not touch what the host gave, and the
// host must not read what the device owns.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/emulated_cluster.hpp"
#include "support/emulated_thread.hpp"
#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/sort_pairs.hpp"

namespace support {

/// The seed of schedules that tests do not choose: 1, or TEMPFLOW_SCHEDULE_SEED of the environment.
inline unsigned schedule_seed() {
  const char* const given = std::getenv("TEMPFLOW_SCHEDULE_SEED");
  return given == nullptr ? 1 : static_cast<unsigned>(std::stoul(given));
}

/// The device; copies share its memory. Everything is done when a call returns.
class emulated_device {
 public:
  /// Clusters of up to this many blocks; 1 for a device without them, 0 for one too small for such blocks.
  explicit emulated_device(int clusters = 16, unsigned seed = schedule_seed())
      : state_(std::make_shared<state>()) {
    state_->clusters = clusters;
    state_->random.seed(seed);
  }

  template <class Kernel>
  void launch(const Kernel& kernel, const tempflow::launch_shape& shape) const {
    tempflow::detail::check_kernel<Kernel>();
    if (shape.blocks < 1 || shape.rows < 1 || shape.warps < 1 || shape.warp_rows < 1 ||
        shape.warps * shape.warp_rows > Kernel::max_warps || shape.blocks % shape.cluster != 0 ||
        shape.cluster > std::max(state_->clusters, 1)) {
      throw std::logic_error("emulated device: a launch that no device takes");
    }
    ++state_->launches;
    // The parameters are copied byte by byte, to another place.
    const auto words =
        std::make_shared<std::vector<parameter_word>>(sizeof kernel / sizeof(parameter_word) + 1);
    std::memcpy(words->data(), &kernel, sizeof kernel);
    // Not a copy of this device: in the graph, which is the state's own, it would keep the state for ever.
    enqueue([on = state_.get(), words, shape] {
      const auto& copy = *std::launder(reinterpret_cast<const Kernel*>(words->data()));
      const auto rows = tempflow::detail::fold_rows(shape.rows);
      const index_t clusters = shape.blocks / shape.cluster * rows.y * rows.z;
      visit(clusters, on->random, [&](index_t c) {
        if (c % on->every != 0 && c != clusters - 1) return false;
        emulated_cluster cluster(shape, c, on->random);
        cluster.run([&](int thread) { copy(emulated_thread(cluster, thread)); });
        return true;
      });
    });
  }
  template <class Kernel>
  int largest_cluster(const Kernel&, const tempflow::launch_shape&) const {
    return state_->clusters;
  }

  /// What the Device of device_with_memory has.
  int stream() const { return 7; }
  int make_current() const { return 0; }

  void* allocate(std::size_t bytes) const {
    ++state_->allocations;
    auto memory = std::make_unique<std::byte[]>(bytes + 2 * guard);
    std::memset(memory.get(), 0x5a, bytes + 2 * guard);
    std::byte* at = memory.get() + guard;
    at += (256 - reinterpret_cast<std::uintptr_t>(at) % 256) % 256;
    if (state_->every != 1) std::memset(at, 0, bytes);  // a pass reads what an earlier one left out
    state_->blocks[at] = {bytes, std::move(memory)};
    state_->live += bytes;
    state_->peak = std::max(state_->peak, state_->live);
    return at;
  }
  void release(void* memory, std::size_t bytes) const noexcept {
    const auto found = state_->blocks.find(static_cast<std::byte*>(memory));
    if (found == state_->blocks.end()) return;
    if (found->second.bytes != bytes) ++state_->wrong_releases;
    state_->live -= found->second.bytes;
    state_->blocks.erase(found);
  }
  void clear(void* memory, std::size_t bytes) const {
    ++state_->clears;
    enqueue([=] { std::memset(memory, 0, bytes); });
  }
  void copy_rows(void* to, index_t to_stride, const void* from, index_t from_stride, index_t row_bytes,
                 index_t rows) const {
    enqueue([=] {
      for (index_t i = 0; i < rows; ++i) {
        std::memcpy(static_cast<char*>(to) + i * to_stride, static_cast<const char*>(from) + i * from_stride,
                    static_cast<std::size_t>(row_bytes));
      }
    });
  }
  void copy(void* to, const void* from, std::size_t bytes) const {
    enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void synchronize() const { ++state_->waits; }
  bool capturing() const { return state_->capturing; }
  tempflow::memory_kind memory_of(const void* address) const {
    state_->asked.push_back(address);
    const auto at = static_cast<const std::byte*>(address);
    const auto within = [at](const std::vector<std::byte>& memory) {
      return at >= memory.data() && at < memory.data() + memory.size();
    };
    if (within(state_->pinned)) return tempflow::memory_kind::pinned;
    if (within(state_->managed)) return tempflow::memory_kind::managed;
    auto found = state_->blocks.upper_bound(const_cast<std::byte*>(at));
    if (found == state_->blocks.begin()) return tempflow::memory_kind::host;
    --found;
    return at < found->first + found->second.bytes ? tempflow::memory_kind::device
                                                   : tempflow::memory_kind::host;
  }

  friend std::size_t sort_scratch_bytes(const emulated_device&, index_t count) {
    return static_cast<std::size_t>(count) * sizeof(index_t);
  }
  friend void sort_pairs(const emulated_device& device, const tempflow::sort_request& request,
                         std::span<std::byte> scratch) {
    ++device.state_->launches;
    device.enqueue([=] {
      auto* const order = reinterpret_cast<index_t*>(scratch.data());
      std::iota(order, order + request.count, index_t{0});
      std::stable_sort(order, order + request.count,
                       [&](index_t a, index_t b) { return request.keys[a] < request.keys[b]; });
      for (index_t i = 0; i < request.count; ++i) {
        request.sorted_keys[i] = request.keys[order[i]];
        request.sorted_values[i] = request.values[order[i]];
      }
    });
  }

  // For tests.
  double* pinned() const { return reinterpret_cast<double*>(state_->pinned.data()); }
  double* managed() const { return reinterpret_cast<double*>(state_->managed.data()); }

  /// What is called while it captures is not run, but by each replay() from then on.
  void capture(bool on) const {
    if (on) state_->graph.clear();
    state_->capturing = on;
  }
  void replay() const {
    for (const auto& work : state_->graph) work();
  }

  int clears() const { return state_->clears; }
  int wrong_releases() const { return state_->wrong_releases; }  ///< of another size than was allocated
  std::vector<const void*>& asked() const {
    return state_->asked;
  }  ///< addresses that memory_of was asked for
  int launches() const { return state_->launches; }
  int allocations() const { return state_->allocations; }
  int waits() const { return state_->waits; }
  std::size_t blocks() const { return state_->blocks.size(); }
  std::size_t live_bytes() const { return state_->live; }
  std::size_t peak_bytes() const { return state_->peak; }  ///< the most that lived since forget_peak()
  void forget_peak() const { state_->peak = state_->live; }

  /// From now on launches run every nth cluster and the last, and leave out the others: for many rows.
  void run_every(index_t nth) const { state_->every = nth; }

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
    int clusters = 16, launches = 0, allocations = 0, waits = 0, clears = 0, wrong_releases = 0;
    std::size_t live = 0, peak = 0;
    bool capturing = false;
    schedule random;
    index_t every = 1;
    std::vector<std::byte> pinned = std::vector<std::byte>(4096);   // host memory that the device reaches
    std::vector<std::byte> managed = std::vector<std::byte>(4096);  // memory of both
    std::vector<std::function<void()>> graph;
    std::vector<const void*> asked;
  };

  struct alignas(16) parameter_word {
    std::byte bytes[16];
  };

  /// Runs work, or keeps it while the stream is being captured.
  template <class Work>
  void enqueue(const Work& work) const {
    if (state_->capturing) {
      state_->graph.push_back(work);
    } else {
      work();
    }
  }

  std::shared_ptr<state> state_;
};

using emulated_backend = tempflow::device_backend<emulated_device>;

}  // namespace support
