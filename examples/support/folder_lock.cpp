// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "folder_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <thread>

#include "durable_file.hpp"
#include "interruption.hpp"

namespace support {

folder_lock::folder_lock(const std::filesystem::path& folder, contention when_taken)
    : descriptor_{open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)} {
  if (descriptor_ < 0) throw output_error("cannot open " + folder.string() + ": " + std::strerror(errno));
  for (bool told = false; flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; told = true) {
    if (when_taken == contention::refuse) {
      close(descriptor_);
      throw output_error("another process is writing to " + folder.string() +
                         "; choose another folder, or end it");
    }
    if (!told) std::printf("waiting for another process that writes to %s\n", folder.c_str());
    std::fflush(stdout);
    end_if_interrupted();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

folder_lock::~folder_lock() { close(descriptor_); }

void make_output_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && access(folder.c_str(), W_OK) != 0) error.assign(errno, std::generic_category());
  if (error) throw output_error("cannot write to " + folder.string() + ": " + error.message());
}

}  // namespace support
