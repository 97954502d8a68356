// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include "timer.hpp"

#include <algorithm>
#include <chrono>

namespace bench {
namespace {

using tempflow::check_cuda;
using clock = std::chrono::steady_clock;

double microseconds_since(clock::time_point start) {
  return std::chrono::duration<double, std::micro>(clock::now() - start).count();
}

/// Several times the L2 cache, in floats.
tempflow::index_t flushed_size() {
  int device = 0, l2 = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, device), "cudaDeviceGetAttribute");
  return std::max<tempflow::index_t>(4 * tempflow::index_t{l2}, 256 << 20) / 4;
}

}  // namespace

timer::timer(const tempflow::cuda_backend& backend)
    : backend_(backend),
      stream_(backend.device().stream()),
      flushed_(backend.make_buffer<float>(1, flushed_size())) {
  for (cudaEvent_t& event : events_) check_cuda(cudaEventCreate(&event), "cudaEventCreate");
}

timer::~timer() {
  for (const cudaEvent_t event : events_) static_cast<void>(cudaEventDestroy(event));
}

void timer::flush() {
  write_and_read(stream_, flushed_.view().data(), static_cast<std::size_t>(flushed_.columns()));
}

double timer::between(int first) const {
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, events_[first], events_[first + 1]), "cudaEventElapsedTime");
  return 1000.0 * milliseconds;
}

/// Calls back to back, behind one that is not timed. ahead: microseconds that the stream waits, or 0.
double timer::repeat(int count, double ahead, const std::function<void()>& call) {
  if (ahead > 0) wait(stream_, ahead);
  call();
  check_cuda(cudaEventRecord(events_[0], stream_), "cudaEventRecord");
  for (int i = 0; i < count; ++i) call();
  check_cuda(cudaEventRecord(events_[1], stream_), "cudaEventRecord");
  backend_.synchronize();
  return between(0) / count;
}

double timer::cold(double ahead, const std::function<void()>& call) {
  for (int i = 0; i < samples; ++i) {
    wait(stream_, ahead);
    flush();
    check_cuda(cudaEventRecord(events_[2 * i], stream_), "cudaEventRecord");
    call();
    check_cuda(cudaEventRecord(events_[2 * i + 1], stream_), "cudaEventRecord");
  }
  backend_.synchronize();
  double times[samples];
  for (int i = 0; i < samples; ++i) times[i] = between(2 * i);
  std::nth_element(times, times + samples / 2, times + samples);
  return times[samples / 2];
}

std::vector<double> timer::graph(const std::function<void()>& call, int repetitions) {
  check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  cudaGraph_t graph = nullptr;
  try {
    for (int i = 0; i < calls; ++i) call();
  } catch (...) {
    static_cast<void>(cudaStreamEndCapture(stream_, &graph));  // else the stream is of no use
    static_cast<void>(cudaGetLastError());
    throw;
  }
  check_cuda(cudaStreamEndCapture(stream_, &graph), "cudaStreamEndCapture");
  cudaGraphExec_t ready = nullptr;
  check_cuda(cudaGraphInstantiateWithFlags(&ready, graph, 0), "cudaGraphInstantiateWithFlags");
  const auto replay = [&] { check_cuda(cudaGraphLaunch(ready, stream_), "cudaGraphLaunch"); };
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) times.push_back(repeat(1, 200, replay) / calls);
  check_cuda(cudaGraphExecDestroy(ready), "cudaGraphExecDestroy");
  check_cuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
  return times;
}

std::vector<double> timer::measure(state how, const std::function<void()>& call, int repetitions) {
  // What ran before may have left a slow clock.
  const auto start = clock::now();
  do {
    for (int i = 0; i < calls; ++i) call();
    backend_.synchronize();
  } while (microseconds_since(start) < 20'000);
  if (how == state::graph) return graph(call, repetitions);

  // How long the host takes, with a stream that is busy.
  wait(stream_, 2000);
  const auto first = clock::now();
  for (int i = 0; i < calls; ++i) call();
  const double host = microseconds_since(first);
  backend_.synchronize();
  const double ahead = 100 + 2 * std::min(host, 2000.0);

  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    times.push_back(how == state::cold ? cold(ahead, call)
                                       : repeat(calls, how == state::hot ? ahead : 0, call));
  }
  return times;
}

}  // namespace bench
