// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
// The example cuda_finetune without a GPU: the text of its kernels, network, optimiser and trainer, on an
// emulated device with Eigen's matrix products, against fashion_mnist on the CPU.
#include "adamw.hpp"
#include "finetuner.inl.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/test_device.hpp"
#include "tempflow/interop/eigen.hpp"
#include "trainer.hpp"

namespace {

namespace tf = tempflow;
using fashion::matrix, fashion::vector, fashion::elements;
using support::emulated_device;

struct eigen_gemm {
  void operator()(const fashion::factor& a, const fashion::factor& b, float keep,
                  tf::batch_view<float> c) const {
    const auto value = [](const fashion::factor& f) -> matrix {
      return f.is_transposed ? matrix(tf::eigen_map(f.matrix).transpose()) : matrix(tf::eigen_map(f.matrix));
    };
    auto to = tf::eigen_map(c);
    const matrix product = value(a) * value(b);
    to = keep == 0 ? product : matrix(keep * to + product);
  }
};

matrix normals(Eigen::Index rows, Eigen::Index columns, std::uint32_t stream) {
  matrix out(rows, columns);
  support::random_stream(7, support::purpose::noise, stream).fill_normal(elements(out));
  return out;
}
vector normal_vector(Eigen::Index size, std::uint32_t stream, float std) {
  return normals(size, 1, stream) * std;
}

/// |a - b| over |b|.
template <class A, class B>
double distance(const A& a, const B& b) {
  return static_cast<double>((a - b).norm()) / static_cast<double>(b.norm());
}

constexpr fashion::network_shape shape{.latents = 16, .width = 48, .blocks = 2};

/// The same network on both, with weights of which none is zero.
struct both_networks {
  tf::cpu_backend cpu{1};
  support::emulated_backend backend = support::make_test_device();
  eigen_gemm multiply;
  fashion::velocity_network network{shape};
  fashion::device_network<emulated_device, eigen_gemm> on_device{backend, multiply, shape};
  vector weights = normal_vector(network.parameters(), 0, 0.15f);
  tf::device_buffer<float, emulated_device> device_weights = on_place(weights);

  tf::device_buffer<float, emulated_device> on_place(const vector& from) const {
    return tf::from_host(backend, tf::batch_view<const float>(from.data(), 1, from.size()));
  }
  vector from_place(const tf::device_buffer<float, emulated_device>& from) const {
    const auto copy = tf::to_host(backend, from.view());
    return Eigen::Map<const vector>(copy.view().data(), copy.columns());
  }
};

struct labelled_batch {
  matrix x;
  std::vector<double> sigma;
  std::vector<tf::index_t> label;

  explicit labelled_batch(Eigen::Index rows) : x(normals(rows, shape.latents, 1)) {
    for (Eigen::Index i = 0; i < rows; ++i) {
      sigma.push_back(static_cast<double>(i) / static_cast<double>(rows - 1));  // 0 and 1 among them
      label.push_back(i % fashion::classes);
    }
  }
};

TEST_CASE("device network: velocities and gradients are those of fashion_mnist's network") {
  both_networks nets;
  fashion::device_network<emulated_device, eigen_gemm>::tape tape;
  for (const int rows : {5, 450, 33}) {  // grows, takes more than one upload, and shrinks
    const labelled_batch batch(rows);
    matrix v(rows, shape.latents);
    fashion::velocity_network::tapes memory;
    nets.network.forward(nets.cpu, nets.weights, tf::batch_view_of(batch.x), batch.sigma, batch.label,
                         tf::batch_view_of(v), memory);
    const auto x_there = tf::from_host(nets.backend, tf::batch_view_of(batch.x));
    auto v_there = nets.backend.make_buffer<float>(rows, shape.latents);
    nets.on_device.forward(nets.device_weights.view(), x_there.view(), batch.sigma, batch.label,
                           v_there.view(), tape);
    const auto v_here = tf::to_host(nets.backend, v_there.view());
    CHECK(distance(tf::eigen_map(v_here.view()), v) < 3e-6);

    const matrix v_gradient = normals(rows, shape.latents, 2);
    const vector before = normal_vector(nets.weights.size(), 3, 0.1f);
    vector gradient = before;
    nets.network.backward(nets.cpu, nets.weights, batch.sigma, tf::batch_view_of(v_gradient), memory,
                          gradient);
    const auto v_gradient_there = tf::from_host(nets.backend, tf::batch_view_of(v_gradient));
    auto gradient_there = nets.on_place(before);
    nets.on_device.backward(nets.device_weights.view(), v_gradient_there.view(), tape, gradient_there.view());
    const vector gradient_here = nets.from_place(gradient_there);
    CHECK(distance(gradient_here - before, gradient - before) < 1e-5);
    for (const auto& layer : shape.layers()) {  // small layers too
      const auto part = [&](const vector& of) {
        return (of - before).segment(layer.offset, layer.parameters());
      };
      CHECK(distance(part(gradient_here).eval(), part(gradient).eval()) < 1e-4);
    }
  }
  CHECK(nets.backend.device().guards_stand());
}

TEST_CASE(
    "device AdamW: moves weights as the CPU's, clipped or not, and refuses gradients that are not finite") {
  const tf::cpu_backend cpu(1);
  const auto backend = support::make_test_device();
  constexpr int size = 5000;
  vector weights = normal_vector(size, 0, 1);
  const auto start = tf::batch_view<const float>(weights.data(), 1, size);
  auto there = tf::from_host(backend, start);
  fashion::adamw here(size);
  fashion::device_adamw<emulated_device> on_device(backend, size);
  const support::adamw_settings settings{.learning_rate = 0.1};
  for (std::uint32_t step = 1; step <= 4; ++step) {
    const vector gradient = normal_vector(size, step, step < 3 ? 1.0f : 1e-3f);
    const auto gradient_there = tf::from_host(backend, tf::batch_view<const float>(gradient.data(), 1, size));
    const double norm = here.step(cpu, settings, gradient, weights);
    CHECK(on_device.step(settings, gradient_there.view(), there.view()) == Catch::Approx(norm).epsilon(1e-6));
    const auto copy = tf::to_host(backend, there.view());
    CHECK(distance(Eigen::Map<const vector>(copy.view().data(), size), weights) < 1e-6);
  }
  auto broken = backend.make_buffer<float>(1, size);
  broken.view().data()[size - 1] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(on_device.step(settings, broken.view(), there.view()), std::runtime_error);
  CHECK(backend.device().guards_stand());
}

/// A small task whose networks are not trained: fine-tuning only needs a reward to follow.
struct small_task {
  fashion::options settings;
  tf::cpu_backend cpu{1};
  fashion::pretrained start;

  small_task()
      : settings(small()),
        start{.codec = fashion::autoencoder({.latents = shape.latents}),
              .network = fashion::velocity_network(shape),
              .weights = normal_vector(fashion::velocity_network(shape).parameters(), 0, 0.15f),
              .reward = fashion::classifier({.hidden = {}}),
              .judge = fashion::classifier({.hidden = {}})} {}

  static fashion::options small() {
    fashion::options o;
    o.latents = shape.latents, o.width = shape.width, o.blocks = shape.blocks;
    o.seeds = 1, o.explorations = 2, o.steps = 4, o.trained_steps = 3, o.completion = "1", o.minibatch = 20;
    return o;
  }

  /// Bright images, in any class.
  static std::vector<double> reward(const matrix& images, std::span<const tf::index_t>) {
    std::vector<double> rewards;
    for (Eigen::Index i = 0; i < images.rows(); ++i)
      rewards.push_back(static_cast<double>(images.row(i).mean()));
    return rewards;
  }
};

TEST_CASE(
    "device fine-tuning: updates are those of fashion_mnist's trainer, in either order of model calls") {
  const small_task task;
  const auto method = GENERATE(as<std::string>{}, "tempflow-grpo", "flow-grpo");
  auto settings = task.settings;
  settings.method = method;
  settings.antithetic = method == "tempflow-grpo";
  fashion::stopwatch watch;
  const fashion::reward_function reward = small_task::reward;
  fashion::trainer expected(task.cpu, settings, task.start, reward, watch);
  const auto report = expected.update();
  const vector change = expected.average() - task.start.weights;

  const auto backend = support::make_test_device();
  const eigen_gemm multiply;
  const fashion::recipe recipe(settings);
  for (const auto order : {fashion::calls::wavefront, fashion::calls::branch_after_branch}) {
    if (method == "flow-grpo" && order == fashion::calls::branch_after_branch)
      continue;  // it has no branches
    fashion::finetuner<emulated_device, eigen_gemm> training(
        backend, multiply, settings, elements(task.start.weights), [&](auto latents, auto prompts) {
          return reward(task.start.codec.decode(task.cpu, tf::eigen_map(latents)), prompts);
        });
    const auto found = training.update(order);
    const auto average = training.average();
    // The first steps of AdamW are as long for a gradient of rounding errors as for any other.
    CHECK(distance((Eigen::Map<const vector>(average.data(), change.size()) - task.start.weights).eval(),
                   change) < 0.02);
    CHECK(found.policy.loss == Catch::Approx(report.policy.loss).epsilon(1e-3).margin(1e-6));
    CHECK(found.policy.kl == Catch::Approx(report.policy.kl).epsilon(0.02));
    CHECK(found.groups.reward_mean == Catch::Approx(report.groups.reward_mean).epsilon(1e-4));
    CHECK(training.updates() == 1);
    CHECK(training.largest_drift() < 1e-4);
    const auto cost = tf::cost_of(recipe.plan(0), fashion::classes);
    CHECK(training.last_cost().rollout_evaluations == cost.model_evaluations);
    CHECK(training.last_cost().rollout_calls ==
          (order == fashion::calls::wavefront ? cost.model_calls : cost.sequential_calls));
  }
  CHECK(backend.device().guards_stand());
}

}  // namespace
