// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A device that runs kernels on the host, thread by thread: the text, the geometry of the launches, the tables
// of rows and the workspace are those of a CUDA device, so machines without one test all but the hardware.
//
// Each thread of a cluster is a fiber that runs until it waits for others: at a warp's, a block's or a
// cluster's barrier. Which runs next is drawn from a seed: a kernel must not depend on it. Barriers order the
// memory that fibers share, exchanges between lanes do not, and the thread sanitizer sees to it. What a block
// shares ends with the block. Memory of the device lies in memory of its own, between guards: kernels must not touch
// what the host gave, and the host must not read what the device owns.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/fibers.hpp"
#include "tempflow/device/device_backend.hpp"
#include "tempflow/device/launch_shape.hpp"
#include "tempflow/device/sort_pairs.hpp"

namespace support {

using tempflow::index_t;

/// What draws the order of threads. Any order is one that hardware may take.
using schedule = std::minstd_rand;

/// The seed of schedules that tests do not choose: 1, or TEMPFLOW_SCHEDULE_SEED of the environment.
inline unsigned schedule_seed() {
  const char* const given = std::getenv("TEMPFLOW_SCHEDULE_SEED");
  return given == nullptr ? 1 : static_cast<unsigned>(std::stoul(given));
}

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

/// What a kernel sees of an emulated thread.
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
        shape.warps * shape.warp_rows > Kernel::most_warps || shape.blocks % shape.cluster != 0 ||
        shape.cluster > std::max(state_->clusters, 1)) {
      throw std::logic_error("emulated device: a launch that no device takes");
    }
    ++state_->launches;
    // The parameters are copied byte by byte, to another place.
    const auto words =
        std::make_shared<std::vector<parameter_word>>(sizeof kernel / sizeof(parameter_word) + 1);
    std::memcpy(words->data(), &kernel, sizeof kernel);
    enqueue([self = *this, words, shape] {
      const auto& copy = *std::launder(reinterpret_cast<const Kernel*>(words->data()));
      const auto rows = tempflow::detail::fold_rows(shape.rows);
      const index_t clusters = shape.blocks / shape.cluster * rows.y * rows.z;
      visit(clusters, self.state_->random, [&](index_t c) {
        if (c % self.state_->every != 0 && c != clusters - 1) return false;
        emulated_cluster cluster(shape, c, self.state_->random);
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
