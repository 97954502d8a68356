// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Runs the tests on the first CUDA device. Without one it says so, and exits with 77: skipped.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <string_view>

#include "support/runner.hpp"

int main(int argc, char** argv) {
  bool lists = false;  // needs no device
  for (int i = 1; i < argc; ++i) lists = lists || std::string_view(argv[i]).starts_with("--list");
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (!lists && (found != cudaSuccess || devices == 0)) {
    std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(found));
    return 77;
  }
  return support::run_tests(argc, argv);
}
