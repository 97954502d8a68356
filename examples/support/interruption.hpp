// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace support {

/// Thrown when a signal has asked the program to end: the exit status is 128 + signal, as a shell's.
struct interrupted {
  int signal;
};

/// From now on the first SIGTERM or SIGINT is noted, for the program to end when its state is saved; a second one
/// ends it at once.
void note_interruptions();

/// The signal that asked the program to end, or 0.
int interruption();

/// Throws interrupted, if a signal asked for it.
void end_if_interrupted();

}  // namespace support
