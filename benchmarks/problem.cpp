// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "problem.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <tempflow/ops/fill_noise.hpp>
#include <tempflow/schedule/dynamics.hpp>

#include "threads.hpp"

namespace bench {
namespace {

namespace tf = tempflow;

constexpr std::size_t alignment = 64;       // that of torch's allocator
constexpr std::size_t max_memory = 1200e6;  // of a rotation

/// Streams of a set: x, v, y, v_ref, and what is written.
constexpr int streams = 5;

/// Fills a batch with normals, times `scale`, plus another batch where there is one.
template <class T>
void fill(const task& t, std::uint32_t seed, double scale, const void* plus, void* batch) {
  std::vector<tf::noise_id> ids(static_cast<std::size_t>(t.rows));
  for (std::uint32_t i = 0; auto& id : ids) id.seed = i++;
  const tf::batch_view<T> out(static_cast<T*>(batch), t.rows, t.columns);
  tf::fill_noise(threads(t.threads), {tf::noise_key{.seed = seed}, ids}, out);
  if (scale == 1 && plus == nullptr) return;
  for (index e = 0; e < t.elements(); ++e) {
    const double offset = plus == nullptr ? 0 : double{tf::load(static_cast<const T*>(plus)[e])};
    out.data()[e] = tf::store<T>(offset + scale * double{tf::load(out.data()[e])});
  }
}

void fill(const task& t, std::uint32_t seed, double scale, const void* plus, void* batch) {
  switch (t.type) {
    case storage::f32: return fill<float>(t, seed, scale, plus, batch);
    case storage::bf16: return fill<tf::bfloat16>(t, seed, scale, plus, batch);
    case storage::f16: return fill<tf::float16>(t, seed, scale, plus, batch);
    case storage::f64: return fill<double>(t, seed, scale, plus, batch);
  }
}

}  // namespace

std::string name_of(const group& g, const peer& p) {
  std::string name;
  for (const std::string_view part : {name_of(g.what), std::string_view(p.name), name_of(g.type)})
    name.append(part).append("/");
  name += std::to_string(g.rows) + "x" + std::to_string(g.columns) + "/" + std::to_string(g.threads);
  return g.cold ? name + "/cold" : name;
}

std::size_t last_level_cache() {
  std::size_t largest = 0;
  for (int i = 0; i < 8; ++i) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/size");
    std::size_t kibibytes = 0;
    if (file >> kibibytes) largest = std::max(largest, kibibytes * 1024);
  }
  return largest > 0 ? largest : std::size_t{32} << 20;
}

problem::problem(const group& g) {
  task_.what = g.what;
  task_.type = g.type;
  task_.rows = g.rows;
  task_.columns = g.columns;
  task_.threads = g.threads;
  task_.for_each_row = [backend = threads(g.threads)](index count, const std::function<void(index)>& body) {
    backend.for_each_index(count, body);
  };
  const tf::transition step = tf::flow_sde{.noise_level = 0.7}({.sigma = 0.8, .sigma_next = 0.7});
  task_.step = {step.alpha, step.beta, step.std, step.dt};
  if (g.type == storage::f16) task_.gradient_scale = static_cast<double>(task_.elements());

  const auto bytes = static_cast<std::size_t>(task_.elements()) * size_of(g.type);
  // A page between batches, as between an allocator's: at equal places of the caches' sets they evict each other.
  constexpr std::size_t page = 4096;
  const auto padded = (bytes + alignment - 1) / alignment * alignment + page;
  const bool branches = g.what == kernel::branch_step || g.what == kernel::siblings;
  const std::size_t set = padded * (streams + (branches ? explorations : 0));
  const std::size_t wanted = 4 * last_level_cache() / set + 1, fitting = max_memory / set;
  const std::size_t count = g.cold ? std::max<std::size_t>(2, std::min(wanted, fitting)) : 1;
  for (std::size_t i = 0; i < count; ++i) {
    memory_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(alignment, set)), &std::free);
    std::byte* const first = memory_.back().get();
    if (first == nullptr) throw std::bad_alloc();
    sets_.push_back({first, first + padded, first + 2 * padded, first + 3 * padded, first + 4 * padded,
                     first + 5 * padded});
    if (i > 0) {
      std::memcpy(first, memory_.front().get(), set);
      continue;
    }
    std::memset(first, 0, set);
    fill(task_, 1, 1, nullptr, first);
    fill(task_, 2, 1, nullptr, first + padded);
    fill(task_, 3, 0.2, first + padded, first + 3 * padded);  // v_ref, not far from v
  }
  if (g.what == kernel::siblings) {
    draw_siblings();
    return;
  }
  const bool on_policy = g.what == kernel::policy_loss_on_policy;
  if (g.what != kernel::log_prob && g.what != kernel::policy_loss && !on_policy) return;

  // y is drawn from the transition; old log-probs put the ratios below, on and above the clip range.
  const auto find = [&](std::string_view name, kernel what) {
    const auto is =
        std::find_if(peers().begin(), peers().end(), [&](const peer& p) { return p.name == name; });
    return is->find(what, g.type)->make(task_);
  };
  results r = empty_results();
  for (const buffers& b : sets_) {
    buffers drawing = b;
    drawing.out = const_cast<void*>(b.y);
    find("tempflow", kernel::step)(drawing, r);
  }
  if (g.what == kernel::log_prob) return;
  find(on_policy ? "tempflow" : "reference", kernel::log_prob)(sets_[0], r);
  for (std::size_t i = 0; i < r.log_probs.size(); ++i) {
    const double off_policy = on_policy ? 0 : 5e-4 * static_cast<double>(static_cast<int>(i % 3) - 1);
    task_.old_log_probs.push_back(r.log_probs[i] + off_policy);
    task_.advantages.push_back(i % 2 == 0 ? 0.75 : -1.25);
  }
}

void problem::draw_siblings() {
  const auto is =
      std::find_if(peers().begin(), peers().end(), [](const peer& p) { return p.name == "tempflow"; });
  const auto draw = is->find(kernel::branch_step, task_.type)->make(task_);
  results r = empty_results();
  for (const buffers& b : sets_) draw(b, r);
  task_.old_log_probs = r.log_probs;
  for (std::size_t i = 0; i < r.log_probs.size(); ++i) task_.advantages.push_back(i % 2 == 0 ? 0.75 : -1.25);
}

results problem::empty_results() const {
  results r;
  const bool branches = task_.what == kernel::branch_step || task_.what == kernel::siblings;
  const index rows = branches ? task_.rows * explorations : task_.rows;
  r.log_probs.resize(static_cast<std::size_t>(rows));
  return r;
}

const buffers& problem::next() {
  const buffers& result = sets_[next_];
  next_ = (next_ + 1) % sets_.size();
  return result;
}

}  // namespace bench
