// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// The data of one benchmark, and whether an operation gets the right answer from it.

#include <memory>
#include <string>
#include <vector>

#include "peer.hpp"

namespace bench {

/// What is measured, but for who does it.
struct group {
  kernel what;
  storage type;
  index rows, columns;
  int threads;
  bool cold;  ///< buffers rotate through more memory than the last-level cache holds

  friend bool operator==(const group&, const group&) = default;
};

/// kernel/implementation/storage/BxD/threads[/cold]
std::string name_of(const group& g, const peer& p);

/// Size of the last-level cache; 32 MiB where the system does not tell.
std::size_t last_level_cache();

/// Data of a group. All its implementations get the same buffers, so that none is lucky with where they lie.
class problem {
 public:
  explicit problem(const group& g);

  problem(const problem&) = delete;  // operations refer to the task

  const task& arguments() const { return task_; }

  /// Space for an operation's small results.
  results empty_results() const;

  /// The buffers to use next: the same again, or the next of the rotation.
  const buffers& next();

  /// Runs the operation once and compares with the reference backend. Empty, or what is wrong.
  std::string check(const operation& run);

 private:
  /// Branches of each row with their log-probs: siblings on policy.
  void draw_siblings();

  std::string check_draw(const buffers& b, const void* y, const results& r, index first = 0,
                         index every = 1) const;
  std::string check_gradient(const buffers& b, const results& r) const;
  std::string check_siblings(const buffers& b, const results& r) const;

  task task_;
  std::vector<std::unique_ptr<std::byte, void (*)(void*)>> memory_;
  std::vector<buffers> sets_;
  std::size_t next_ = 0;
};

}  // namespace bench
