// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "interruption.hpp"

#include <csignal>

namespace support {
namespace {

volatile std::sig_atomic_t noted = 0;

}  // namespace

void note_interruptions() {
  struct sigaction action {};
  action.sa_handler = [](int signal) {
    noted = signal;
    std::signal(SIGTERM, SIG_DFL);  // the next of either kind ends it at once
    std::signal(SIGINT, SIG_DFL);
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

int interruption() { return noted; }

void end_if_interrupted() {
  if (noted != 0) throw interrupted{noted};
}

}  // namespace support
