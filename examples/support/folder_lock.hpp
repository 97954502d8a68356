// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

namespace support {

/// What happens where another process has the lock.
enum class contention { refuse, wait };

/// Keeps other processes of this program out of a folder, as long as it and the process live. It leaves no
/// file behind. On a file system without such locks (some network ones) it locks nothing.
class folder_lock {
 public:
  /// Throws output_error when the folder cannot be opened or, with `refuse`, when another process has it. With
  /// `wait`, throws interrupted.
  folder_lock(const std::filesystem::path& folder, contention when_taken);
  folder_lock(const folder_lock&) = delete;
  folder_lock& operator=(const folder_lock&) = delete;
  ~folder_lock();

 private:
  int descriptor_;
};

/// Makes a folder for results, unless it is there. Throws output_error when nothing can be written to it: better
/// before the work than after.
void make_output_folder(const std::filesystem::path& folder);

}  // namespace support
