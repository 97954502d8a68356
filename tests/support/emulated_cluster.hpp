// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A cluster of an emulated device. Each of its threads is a fiber that runs until it waits for others: at a warp's, a
// block's or the cluster's barrier. Which runs next is drawn from a seed: a kernel must not depend on it. Barriers order
// the memory that fibers share, exchanges between lanes do not, and the thread sanitizer sees to it. What a block shares
// ends with the block.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

#include "support/fibers.hpp"
#include "tempflow/device/launch_shape.hpp"

namespace support {

using tempflow::index_t;

/// What draws the order of threads. Any order is one that hardware may take.
using schedule = std::minstd_rand;

/// Calls go(0), ..., go(count - 1) from a drawn one on, upwards or downwards. Returns whether one was true.
template <class Go>
bool visit(index_t count, schedule& random, const Go& go) {
  index_t at = static_cast<index_t>(random()) % count;
  const index_t stride = random() % 2 == 0 ? 1 : count - 1;
  bool moved = false;
  for (index_t i = 0; i < count; ++i, at = (at + stride) % count) moved = go(at) || moved;
  return moved;
}

/// Visits them once, or until none of them moves, as a coin says: so some threads run far ahead of others.
template <class Go>
bool visit_some(index_t count, schedule& random, const Go& go) {
  const bool far = random() % 2 == 0, moved = visit(count, random, go);
  while (far && visit(count, random, go)) {
  }
  return moved;
}

/// The fibers of a cluster and where they wait.
class emulated_cluster {
 public:
  emulated_cluster(const tempflow::launch_shape& shape, index_t cluster, schedule& random)
      : shape_(shape),
        block_warps_(shape.warps * shape.warp_rows),
        first_block_(cluster * shape.cluster % shape.blocks),
        row_of_blocks_(cluster * shape.cluster / shape.blocks),
        random_(random),
        threads_(static_cast<std::size_t>(shape.cluster * block_warps_ * tempflow::warp_lanes)),
        warps_(static_cast<std::size_t>(shape.cluster * block_warps_)),
        blocks_(static_cast<std::size_t>(shape.cluster)) {
    for (auto& block : blocks_) {
      block.shared.assign(static_cast<std::size_t>(shape.shared_bytes) / 8 + 2, 0xa5a5a5a5a5a5a5a5u);
      block.running = block_warps_ * tempflow::warp_lanes;
    }
  }

  /// Runs body(thread) in a fiber for each thread of the cluster. Throws what a thread threw.
  void run(const std::function<void(int)>& body) {
    body_ = &body;
    for (std::size_t t = 0; t < threads_.size(); ++t) fiber_of(t).prepare(&start, this, static_cast<int>(t));
    for (bool moved = true; moved;) {
      moved = visit(shape_.cluster, random_, [this](index_t block) {
        return visit_some(block_warps_, random_, [=, this](index_t warp) {
          return visit_some(tempflow::warp_lanes, random_, [=, this](index_t lane) {
            return resume((block * block_warps_ + warp) * tempflow::warp_lanes + lane);
          });
        });
      });
    }
    if (std::any_of(blocks_.begin(), blocks_.end(), [](const auto& block) { return block.running > 0; })) {
      throw std::logic_error("emulated device: threads wait for each other");
    }
  }

  struct barrier {
    int arrived = 0;
    std::uint64_t round = 0;
    char sides[2] = {};  ///< what those who arrive release, and those who depart acquire; one for each round
  };

  /// Waits until `count` threads have come to the barrier.
  void wait(barrier& at, int count) {
    arrive(at, count);
    depart();
  }
  void arrive(barrier& at, int count) {
    release(&at.sides[at.round % 2]);
    meet(at, count);
  }
  void depart() {
    const auto& thread = threads_[static_cast<std::size_t>(running_)];
    wait_for_all();
    acquire(&thread.pending->sides[thread.round % 2]);
  }

  /// The barrier of the cluster, whose threads may come to others between arrival and departure. A relaxed arrival
  /// releases nothing.
  void arrive_cluster(int count, bool relaxed) {
    if (!relaxed) release(&meeting_.sides[meeting_.round % 2]);
    meet(meeting_, count);
    auto& thread = threads_[static_cast<std::size_t>(running_)];
    thread.cluster_round = thread.round;
  }
  void depart_cluster() {
    auto& thread = threads_[static_cast<std::size_t>(running_)];
    thread.pending = &meeting_, thread.round = thread.cluster_round;
    depart();
  }

  /// As the barrier of a warp, but without its order of memory.
  void meet_warp(int thread) {
    meet(warp(thread).meeting, tempflow::warp_lanes);
    wait_for_all();
  }

  struct warp_state {
    barrier meeting;
    std::uint64_t exchanged[32] = {};
  };
  struct block_state {
    barrier meeting;
    std::vector<std::uint64_t> shared;
    int running = 0;  ///< threads that have not returned
  };

  const tempflow::launch_shape& shape() const { return shape_; }
  int block_warps() const { return block_warps_; }
  index_t first_block() const { return first_block_; }
  index_t row_of_blocks() const { return row_of_blocks_; }
  warp_state& warp(int thread) { return warps_[static_cast<std::size_t>(thread / 32)]; }
  block_state& block(int rank) { return blocks_[static_cast<std::size_t>(rank)]; }

  /// Shared memory of a block, which is gone when its last thread has returned.
  std::byte* shared_of(int rank) {
    auto& block = blocks_[static_cast<std::size_t>(rank)];
    if (has_exited(block))
      throw std::logic_error("emulated device: shared memory of a block that has exited");
    return reinterpret_cast<std::byte*>(block.shared.data());
  }

 private:
  struct fiber_state {
    bool done = false;
    barrier* waits_at = nullptr;
    barrier* pending = nullptr;
    std::uint64_t round = 0, cluster_round = 0;
  };

  TEMPFLOW_TEST_UNSEEN void meet(barrier& at, int count) {
    auto& thread = threads_[static_cast<std::size_t>(running_)];
    thread.round = at.round;
    thread.pending = &at;
    if (++at.arrived == count) at.arrived = 0, ++at.round;
  }
  TEMPFLOW_TEST_UNSEEN void wait_for_all() {
    const int self = running_;
    auto& thread = threads_[static_cast<std::size_t>(self)];
    thread.waits_at = thread.pending;
    if (thread.waits_at->round == thread.round) fiber_of(static_cast<std::size_t>(self)).give_way();
  }

  /// Runs a thread up to where it waits. Returns whether it was able to.
  TEMPFLOW_TEST_UNSEEN bool resume(index_t index) {
    auto& thread = threads_[static_cast<std::size_t>(index)];
    if (thread.done || (thread.waits_at != nullptr && thread.waits_at->round == thread.round)) return false;
    thread.waits_at = nullptr;
    running_ = static_cast<int>(index);
    fiber_of(static_cast<std::size_t>(index)).resume();
    if (failed_) {
      for (std::size_t t = 0; t < threads_.size(); ++t) fiber_of(t).abandon();
      std::rethrow_exception(failure_);
    }
    return true;
  }

  TEMPFLOW_TEST_UNSEEN static void start(void* cluster, int index) {
    auto* const self = static_cast<emulated_cluster*>(cluster);
    try {
      (*self->body_)(index);
    } catch (...) {
      self->failure_ = std::current_exception();
      self->failed_ = true;
    }
    self->threads_[static_cast<std::size_t>(index)].done = true;
    self->leave(self->blocks_[static_cast<std::size_t>(index / tempflow::warp_lanes / self->block_warps_)]);
  }

  TEMPFLOW_TEST_UNSEEN static bool has_exited(const block_state& block) { return block.running == 0; }
  TEMPFLOW_TEST_UNSEEN static void leave(block_state& block) {
    if (--block.running > 0) return;
    for (auto& word : block.shared) word = 0xdeaddeaddeaddeadu;
  }

  tempflow::launch_shape shape_;
  int block_warps_;
  index_t first_block_, row_of_blocks_;
  schedule& random_;
  std::vector<fiber_state> threads_;
  std::vector<warp_state> warps_;
  std::vector<block_state> blocks_;
  barrier meeting_;
  const std::function<void(int)>* body_ = nullptr;
  std::exception_ptr failure_;
  bool failed_ = false;
  int running_ = 0;
};

}  // namespace support
