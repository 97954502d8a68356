// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

namespace support {

/// Tells people how far a phase is: on a terminal one line that is drawn again with the time left, elsewhere
/// a plain line now and then.
class progress {
 public:
  explicit progress(std::string title);
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  ~progress();

  /// `done` in [0, 1]. Time left is judged from the share done since the first call.
  void update(double done, const std::string& note = {});

  /// Prints a line that stays.
  void say(const std::string& line);

  double seconds() const;

 private:
  using clock = std::chrono::steady_clock;
  void erase();

  std::string title_;
  bool terminal_;
  bool drawn_ = false;
  double first_done_ = -1;
  clock::time_point start_ = clock::now();
  clock::time_point first_time_ = start_;
  clock::time_point last_drawn_ = start_;
};

}  // namespace support
