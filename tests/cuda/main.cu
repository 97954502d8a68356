// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Runs the tests on the first CUDA device. Without one it says so, and exits with 77: skipped.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <string_view>

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
  bool lists = false;  // needs no device
  for (int i = 1; i < argc; ++i) lists = lists || std::string_view(argv[i]).starts_with("--list");
  int devices = 0;
  const cudaError_t found = cudaGetDeviceCount(&devices);
  if (!lists && (found != cudaSuccess || devices == 0)) {
    std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(found));
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
