// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace support {

progress::progress(std::string title) : title_{std::move(title)}, terminal_{isatty(STDOUT_FILENO) == 1} {}

progress::~progress() { erase(); }

double progress::seconds() const { return std::chrono::duration<double>(clock::now() - start_).count(); }

void progress::erase() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stdout);
  std::fflush(stdout);
  drawn_ = false;
}

void progress::say(const std::string& line) {
  erase();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void progress::update(double done, const std::string& note) {
  const auto now = clock::now();
  if (first_done_ < 0) {
    first_done_ = done;
    first_time_ = now;
  }
  const std::chrono::duration<double> between(terminal_ ? 0.2 : 10);
  if (now - last_drawn_ < between) return;
  last_drawn_ = now;

  const double passed = std::chrono::duration<double>(now - first_time_).count();
  const double left = done > first_done_ ? passed * (1 - done) / (done - first_done_) : 0;
  char line[160];
  const int percent = static_cast<int>(std::floor(100 * done));
  std::snprintf(line, sizeof line, "%-12s %3d %%, %.0f s left%s%s", title_.c_str(), percent, left,
                note.empty() ? "" : "  ", note.c_str());
  if (!terminal_) return say(line);
  constexpr int width = 24;
  const int filled = std::clamp(static_cast<int>(done * width), 0, width);
  std::printf("\r\033[K[%s%s] %s", std::string(static_cast<std::size_t>(filled), '=').c_str(),
              std::string(static_cast<std::size_t>(width - filled), ' ').c_str(), line);
  std::fflush(stdout);
  drawn_ = true;
}

}  // namespace support
