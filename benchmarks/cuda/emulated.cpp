// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The benchmark's problems on an emulated device, which needs no GPU: what a kernel is called with, where its results
// go, and that a wrong one is found.

#include <iostream>
#include <string>

#include "device_problem.hpp"
#include "support/emulated_device.hpp"

namespace {

using namespace bench;

int failures = 0;

void expect(bool holds, const task& t, std::string_view what) {
  if (holds) return;
  ++failures;
  std::cout << kernel_names[static_cast<int>(t.what)] << ' ' << storage_names[static_cast<int>(t.type)] << ' '
            << t.rows << 'x' << t.columns << ": " << what << '\n';
}

/// What storage and arithmetic leave of log-probs (fp32 or better whatever the storage) and of gradients.
double rounding(const task& t) {
  if (t.what == kernel::group_advantages) return 1e-12;
  if (!t.is_policy_loss() && t.what != kernel::ema) return 1e-6;
  return t.type == storage::f32 ? 1e-6 : t.type == storage::bf16 ? 0x1p-8 : 0x1p-11;
}

template <class T>
void run(const task& t) {
  const support::emulated_device device;
  const support::emulated_backend backend(device);
  device_problem<T, support::emulated_device> timed(t, backend);
  const std::string wrong = timed.check();
  expect(wrong.empty(), t, wrong);
  expect(timed.error() <= rounding(t), t, "is off by more than rounding: " + std::to_string(timed.error()));
  const int allocations = device.allocations(), waits = device.waits();
  device.capture(true);
  timed.enqueue();
  expect(device.allocations() == allocations && device.waits() == waits, t, "a call allocates or waits");
  expect(device.guards_stand(), t, "writes where it must not");
}

/// The answers are not those of other inputs, nor what was there before.
template <class T>
void find_wrong(const task& t) {
  const host_data<T> right(t);
  expect(right.compare(right.out, right.branches, right.numbers, right.rows).empty(), t, "is not itself");
  auto out = right.out, branches = right.branches;
  auto numbers = right.numbers;
  auto rows = right.rows;
  const auto found = [&] { return !right.compare(out, branches, numbers, rows).empty(); };
  const auto spoil = [&](auto& value, auto wrong) {
    const auto kept = value;
    value = wrong;
    expect(found(), t, "a wrong number is not found");
    value = kept;
  };
  // Row 1: row 0 is clipped, so its gradient is 0.
  const T none = tf::store<T>(std::numeric_limits<float>::quiet_NaN());
  if (out.rows() > 0) spoil(out.view().row(t.rows - 1)[t.columns - 1], none);
  if (out.rows() > 0) spoil(out.view().row(1)[0], tf::store<T>(tf::load(out.view().row(1)[0]) * 1.05f));
  if (branches.rows() > 0) spoil(branches.view().row(t.rows)[1], none);
  if (!numbers.empty()) spoil(numbers.back(), numbers.back() + 1e-9);
  if (!rows.empty()) spoil(rows.back().finite, false);
  if (!rows.empty()) spoil(rows.front().kl, rows.front().kl + 1e-9);

  // So is the error that is reported.
  for (tf::index_t e = 0; numbers.empty() && e < t.columns; ++e)
    out.view().row(1)[e] = tf::store<T>(tf::load(out.view().row(1)[e]) * 1.5f);
  if (!numbers.empty()) numbers.back() += 0.25;
  expect(error_against_double(t, right, out, branches, numbers) > 4 * rounding(t), t,
         "a wrong number is no error");
}

template <class T>
void run_all(storage type) {
  for (int what = 0; what < static_cast<int>(kernel::group_advantages); ++what) {
    for (const tf::index_t columns : {4096, 2049}) run<T>({static_cast<kernel>(what), type, 3, columns});
    find_wrong<T>({static_cast<kernel>(what), type, 3, 1025});
  }
}

}  // namespace

int main() {
  run_all<float>(storage::f32);
  run_all<tf::bfloat16>(storage::bf16);
  run_all<tf::float16>(storage::f16);
  run<float>({kernel::group_advantages, storage::f64, 1, 40});
  find_wrong<float>({kernel::group_advantages, storage::f64, 1, 40});
  std::cout << failures << " failures\n";
  return failures == 0 ? 0 : 1;
}
