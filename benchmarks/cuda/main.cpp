// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Measures what it is asked for: reads names, one a line, and answers each with a line of JSON. So another program can
// be asked in turns, and a machine that drifts is the same for both; run.py does that. By hand:
//
//   tempflow_bench_cuda --list | grep '^log_prob/.*/96x' | tempflow_bench_cuda

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "make_problem.hpp"
#include "timer.hpp"

namespace {

using namespace bench;

/// copy_kernel and copy_memcpy move as many bytes as the kernel has to, half in and half out.
enum class who { tempflow, copy_kernel, copy_memcpy };

constexpr std::string_view who_names[] = {"tempflow", "copy_kernel", "copy_memcpy"};

struct measurement {
  task of;
  who by;
  state how;
};

/// Measurements by name, kernel/who/storage/BxD/state, in the order in which they share data.
std::vector<std::pair<std::string, measurement>> all_measurements() {
  std::vector<std::pair<std::string, measurement>> all;
  const auto add = [&all](const task& t) {
    for (int how = 0; how < 4; ++how) {
      for (int by = 0; by < 3; ++by) {
        std::ostringstream name;
        name << kernel_names[static_cast<int>(t.what)] << '/' << who_names[by] << '/'
             << storage_names[static_cast<int>(t.type)] << '/' << t.rows << 'x' << t.columns << '/'
             << state_names[how];
        all.push_back({name.str(), {t, static_cast<who>(by), static_cast<state>(how)}});
      }
    }
  };
  // SD3.5-M at 512 px; FLUX.1 at 1024 px, few and many; one prompt; nothing aligned.
  constexpr tf::index_t sizes[][2] = {{24, 65536}, {6, 262144}, {96, 262144}, {4, 65536}, {24, 65537}};
  for (int what = 0; what < static_cast<int>(kernel::group_advantages); ++what) {
    for (const storage type : {storage::f32, storage::bf16, storage::f16}) {
      for (const auto [rows, columns] : sizes) add({static_cast<kernel>(what), type, rows, columns});
    }
  }
  for (const tf::index_t samples : {1152, 16384}) add({kernel::group_advantages, storage::f64, 1, samples});
  return all;
}

/// The problem that was last asked for; only one is kept.
class problems {
 public:
  explicit problems(const tf::cuda_backend& backend) : backend_(backend) {}

  /// What was last asked for; check() has been called.
  const problem& current() const { return *problem_; }

  /// One call of a measurement.
  std::function<void()> get(const measurement& m) {
    if (!problem_ || !(of_ == m.of)) prepare(m.of);
    if (m.by == who::tempflow) {
      if (!wrong_.empty()) throw std::runtime_error("wrong answer: " + wrong_);
      return [this] { problem_->enqueue(); };
    }
    return [this, by = m.by] { copy(by); };
  }

 private:
  using memory = tf::device_buffer<float, tf::cuda_device>;

  void prepare(const task& t) {
    problem_ = nullptr;  // before the next takes memory
    from_ = memory(), to_ = memory();
    of_ = t;
    half_ = t.bytes() / 2;
    const auto floats = static_cast<tf::index_t>(half_ / 4 + 1);
    from_ = backend_.make_buffer<float>(1, floats), to_ = backend_.make_buffer<float>(1, floats);
    if (t.type == storage::bf16) {
      problem_ = make_problem<tf::bfloat16>(t, backend_);
    } else if (t.type == storage::f16) {
      problem_ = make_problem<tf::float16>(t, backend_);
    } else {
      problem_ = make_problem<float>(t, backend_);
    }
    wrong_ = problem_->check();
  }

  void copy(who by) {
    const cudaStream_t stream = backend_.device().stream();
    if (by == who::copy_kernel) {
      copy_by_kernel(stream, to_.view().data(), from_.view().data(), half_);
    } else {
      tf::check_cuda(
          cudaMemcpyAsync(to_.view().data(), from_.view().data(), half_, cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
    }
  }

  tf::cuda_backend backend_;
  task of_{};
  std::unique_ptr<problem> problem_;
  std::string wrong_;
  memory from_, to_;
  std::size_t half_ = 0;
};

/// Text as JSON has it.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + '"';
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  tf::check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  tf::check_cuda(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute");
  return value;
}

/// The first line: what the numbers depend on.
void print_context() {
  cudaDeviceProp properties{};
  int device = 0, driver = 0, runtime = 0;
  tf::check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  tf::check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  tf::check_cuda(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  tf::check_cuda(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  const auto version = [](int number) {
    return quoted(std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10));
  };
  std::cout << "{\"context\": {\"GPU\": " << quoted(properties.name) << ", \"compute capability\": \""
            << properties.major << '.' << properties.minor
            << "\", \"multiprocessors\": " << properties.multiProcessorCount
            << ", \"L2 bytes\": " << attribute(cudaDevAttrL2CacheSize)
            << ", \"CUDA of the driver\": " << version(driver) << ", \"CUDA runtime\": " << version(runtime)
            << ", \"compiler\": " << quoted("g++ " __VERSION__) << "}}" << std::endl;
}

int answer(int repetitions) {
  const auto all = all_measurements();
  const std::map<std::string, measurement> known(all.begin(), all.end());
  cudaStream_t stream = nullptr;
  tf::check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  const tf::cuda_backend backend(stream);
  timer clock(backend);
  problems data(backend);
  print_context();
  bool failed = false;
  for (std::string name; std::getline(std::cin, name);) {
    std::cout << "{\"name\": " << quoted(name);
    try {
      const auto found = known.find(name);
      if (found == known.end()) throw std::runtime_error("no such measurement; --list has them");
      const measurement& m = found->second;
      const auto times = clock.measure(m.how, data.get(m), repetitions);
      std::cout << ", \"bytes\": " << m.of.bytes();
      if (m.by == who::tempflow)
        std::cout << ", \"memory\": " << data.current().memory()
                  << ", \"error64\": " << data.current().error();
      std::cout << ", \"us\": [";
      for (const char* between = ""; const double time : times) {
        std::cout << between << time;
        between = ", ";
      }
      std::cout << "]}";
    } catch (const std::exception& problem) {
      failed = true;
      std::cout << ", \"error\": " << quoted(problem.what()) << '}';
    }
    std::cout << std::endl;  // someone waits
  }
  return failed ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  int repetitions = 9;
  for (int i = 1; i < count; ++i) {
    if (std::strcmp(arguments[i], "--list") == 0) {
      for (const auto& [name, what] : all_measurements()) std::cout << name << '\n';
      return 0;
    }
    if (std::strcmp(arguments[i], "--repetitions") == 0 && i + 1 < count && std::atoi(arguments[i + 1]) > 0) {
      repetitions = std::atoi(arguments[++i]);
      continue;
    }
    std::cout << "tempflow_bench_cuda [--repetitions N]   measures the names that it reads, one a line\n"
                 "tempflow_bench_cuda --list              names: kernel/who/storage/BxD/state\n";
    return std::strcmp(arguments[i], "--help") == 0 ? 0 : 2;
  }
  int devices = 0;
  if (const cudaError_t code = cudaGetDeviceCount(&devices); code != cudaSuccess || devices == 0) {
    std::cout << "skipped: no CUDA device";
    if (code != cudaSuccess) std::cout << " (" << cudaGetErrorString(code) << ')';
    std::cout << std::endl;
    return 77;
  }
  try {
    return answer(repetitions);
  } catch (const std::exception& problem) {
    std::cerr << "tempflow_bench_cuda: " << problem.what() << '\n';
    return 1;
  }
}
