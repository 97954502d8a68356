// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A problem in the memory of a device: tables of rows and results lie there too, so no call waits.

#include <memory>
#include <vector>

#include "accuracy.hpp"
#include "host_data.hpp"
#include "tempflow/device/kernels.hpp"

namespace bench {

/// The device is a template, so that an emulated one can test this without a GPU.
template <class T, class Device>
class device_problem final : public problem {
 public:
  device_problem(const task& t, const tf::device_backend<Device>& backend)
      : task_(t), backend_(backend), host_(t) {
    backend.reserve(t.rows, t.columns, explorations);
    device_.x = batch<const T>(host_.x);
    device_.v = batch<const T>(host_.v);
    device_.y = batch<const T>(host_.y);
    device_.v_ref = batch<const T>(host_.v_ref);
    device_.steps = copy(host_.steps);
    device_.trunk_steps = copy(host_.trunk_steps);
    device_.ids = copy(host_.ids);
    device_.old_log_probs = copy(host_.old_log_probs);
    device_.advantages = copy(host_.advantages);
    device_.rewards = copy(host_.rewards);
    device_.groups = copy(host_.groups);
    device_.out = batch<T>(t.what == kernel::ema ? host_.x : host_.out);
    device_.branches = batch<T>(host_.branches);
    device_.numbers = copy(host_.numbers);
    device_.rows = copy(host_.rows);
    if (t.what == kernel::ema) return;  // which moves what is there
    poison(device_.out.data(), host_.out.rows() * host_.out.columns());
    poison(device_.branches.data(), host_.branches.rows() * host_.branches.columns());
    poison(device_.numbers.data(), static_cast<tf::index_t>(host_.numbers.size()));
    poison(device_.rows.data(), static_cast<tf::index_t>(host_.rows.size()));
  }

  void enqueue() override {
    if (task_.what == kernel::group_advantages) {
      tf::group_advantages(backend_, device_.rewards, device_.groups, {}, device_.numbers);
    } else {
      call(backend_, task_, device_);
    }
  }

  std::string check() override {
    enqueue();
    tf::batch_buffer<T> out(host_.out.rows(), host_.out.columns()),
        branches(host_.branches.rows(), host_.branches.columns());
    std::vector<double> numbers(host_.numbers.size());
    std::vector<tf::policy_row> rows(host_.rows.size());
    download(device_.out.data(), out.view().data(), out.rows() * out.columns());
    download(device_.branches.data(), branches.view().data(), branches.rows() * branches.columns());
    download(device_.numbers.data(), numbers.data(), static_cast<tf::index_t>(numbers.size()));
    download(device_.rows.data(), rows.data(), static_cast<tf::index_t>(rows.size()));
    backend_.synchronize();
    error_ = error_against_double(task_, host_, out, branches, numbers);
    return host_.compare(out, branches, numbers, rows);
  }

  double error() const override { return error_; }

  std::size_t memory() const override {
    if (task_.what == kernel::ema) return 0;  // in place, and without workspace
    const tf::index_t siblings = task_.what == kernel::branch_step ? explorations : 1;
    return bytes<T>(host_.out.rows() * host_.out.columns()) +
           bytes<T>(host_.branches.rows() * host_.branches.columns()) +
           host_.numbers.size() * sizeof(double) + host_.rows.size() * sizeof(tf::policy_row) +
           tf::device_workspace_bytes(task_.rows, task_.columns, siblings);
  }

 private:
  template <class E>
  static std::size_t bytes(tf::index_t count) {
    return sizeof(E) * static_cast<std::size_t>(count);
  }

  template <class E>
  E* upload(const E* from, tf::index_t count) {
    if (count == 0) return nullptr;
    const Device device = backend_.device();
    memory_.emplace_back(device.allocate(bytes<E>(count)),
                         [device, size = bytes<E>(count)](void* memory) { device.release(memory, size); });
    device.copy(memory_.back().get(), from, bytes<E>(count));
    return static_cast<E*>(memory_.back().get());
  }
  template <class E>
  std::span<E> copy(const std::vector<E>& from) {
    return {upload(from.data(), static_cast<tf::index_t>(from.size())), from.size()};
  }
  template <class E>
  tf::batch_view<E> batch(const tf::batch_buffer<T>& from) {
    if (from.rows() == 0) return {};
    return {upload(from.view().data(), from.rows() * from.columns()), from.rows(), from.columns()};
  }

  /// Numbers that are no numbers, where the kernel has to write its own.
  template <class E>
  void poison(E* to, tf::index_t count) {
    const std::vector<std::byte> wrong(bytes<E>(count), std::byte{0xff});
    if (count > 0) backend_.device().copy(to, wrong.data(), wrong.size());
    backend_.synchronize();  // before `wrong` goes
  }
  template <class E>
  void download(const E* from, E* to, tf::index_t count) {
    if (count > 0) backend_.device().copy(to, from, bytes<E>(count));
  }

  task task_;
  tf::device_backend<Device> backend_;
  host_data<T> host_;
  arguments<T> device_;
  double error_ = 0;
  std::vector<std::shared_ptr<void>> memory_;
};

}  // namespace bench
