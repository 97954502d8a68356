// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Short macros of other libraries (windows.h, X11, complex.h, Objective-C) do not reach into this one.

#include <algorithm>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#define min(a, b) hostile macro
#define max(a, b) hostile macro
#define check(a) hostile macro
#define verify(a) hostile macro
#define I hostile macro
#define N hostile macro
#define None hostile macro
#define Bool hostile macro
#define Status hostile macro
#define Success hostile macro
#define ERROR hostile macro
#define IN hostile macro
#define OUT hostile macro
#define small hostile macro
#define near hostile macro
#define far hostile macro
#define interface hostile macro

#include <tempflow/tempflow.hpp>

int main() {}
