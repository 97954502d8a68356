// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <utility>

namespace fashion {

/// What the time of fine-tuning goes to.
enum class account {
  model,            ///< velocities of the policy and of its frozen reference, and the way back through them
  reward,           ///< decoding finished samples to images, and scoring those
  optimiser,        ///< AdamW: the clip of the gradient and the step
  everything_else,  ///< the library and the loop around it: the rest of an update, progress, checkpoints
  not_measured,     ///< evaluation, and whatever lies outside fine-tuning
};

/// Splits this thread's wall time among accounts, from its construction on. A moment is charged to the
/// innermost scope that is open, so no moment is charged twice and none is lost.
class stopwatch {
 public:
  /// Charges its own lifetime to an account, less that of scopes inside it. Scopes must nest.
  class scope {
   public:
    scope(stopwatch& watch, account charged) : watch_{watch}, outer_{watch.turn_to(charged)} {}
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;
    ~scope() { watch_.turn_to(outer_); }

   private:
    stopwatch& watch_;
    account outer_;
  };

  /// Charges a piece of work, and returns what it returns.
  template <class Work>
  decltype(auto) charge(account charged, const Work& work) {
    const scope open(*this, charged);
    return work();
  }

  /// What closed scopes have charged to an account.
  double seconds(account charged) const {
    return std::chrono::duration<double>(spent_[static_cast<std::size_t>(charged)]).count();
  }

 private:
  using clock = std::chrono::steady_clock;

  /// Charges the time since the last turn, and returns the account it went to.
  account turn_to(account next) {
    const auto now = clock::now();
    spent_[static_cast<std::size_t>(current_)] += now - std::exchange(since_, now);
    return std::exchange(current_, next);
  }

  std::array<clock::duration, 5> spent_{};
  account current_ = account::not_measured;
  clock::time_point since_ = clock::now();
};

}  // namespace fashion
