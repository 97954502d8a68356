// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Models of every convention, made of one flow model, give its velocity back; and their gradients are finite
// differences.

#include "tempflow/rollout/model_adapters.hpp"

#include <cmath>
#include <concepts>
#include <limits>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/gaussian_flow.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"
#include "tempflow/rollout/branch_plan.hpp"
#include "tempflow/rollout/flow_plan.hpp"
#include "tempflow/rollout/model_check.hpp"
#include "tempflow/rollout/roll_out.hpp"

using support::check_throws;
using support::convention_model;
using support::gaussian_flow;
using tempflow::adapt_model;
using tempflow::batch_buffer;
using tempflow::bfloat16;
using tempflow::float16;
using tempflow::index_t;
using tempflow::model_convention;
using tempflow::prediction;
using tempflow::value_error;

namespace {

constexpr index_t rows = 6, dimension = 37;
const std::vector<double> sigmas{0.95, 0.7, 0.5, 0.3, 0.1, 0.02};
const std::vector<index_t> prompts{0, 1, 2, 3, 4, 5};
const gaussian_flow flow(0.5, 0.8);

template <class T, class B>
double largest_error(const B& backend, const model_convention& convention) {
  auto host = convention_model<T>(dimension, flow, convention);
  auto model = adapt_model(backend, host, convention);
  const auto x = support::random_batch<T>(rows, dimension, 1);
  batch_buffer<T> v(rows, dimension);
  model.velocity(x, sigmas, prompts, v);
  double largest = 0;
  for (index_t i = 0; i < rows; ++i) {
    const double sigma = sigmas[static_cast<std::size_t>(i)];
    // The prediction is rounded to T and then divided by sigma or 1 - sigma.
    const double scale = convention.predicts == prediction::data    ? 1 / sigma
                         : convention.predicts == prediction::noise ? 1 / (1 - sigma)
                                                                    : 1;
    for (index_t e = 0; e < dimension; ++e) {
      const double at = support::value_of(x.view().row(i)[e]);
      largest = std::max(largest,
                         std::abs(support::value_of(v.view().row(i)[e]) - flow.velocity(at, sigma)) / scale);
    }
  }
  return largest;
}

}  // namespace

TEST_CASE("every convention gives the velocity of the flow", "[adapters]") {
  for (const auto predicts :
       {prediction::velocity, prediction::data_minus_noise, prediction::data, prediction::noise}) {
    for (const auto& [data, noise] :
         {std::pair{0.0, 1.0}, {1.0, 0.0}, {0.0, 1000.0}, {1000.0, 0.0}, {-1.0, 1.0}}) {
      const model_convention convention{predicts, data, noise};
      INFO("prediction " << static_cast<int>(predicts) << ", times " << data << ", " << noise);
      // Numbers up to about 4, each rounded two or three times.
      CHECK(largest_error<double>(tempflow::reference_backend{}, convention) < 4 * 3 * 0x1p-53 * 16);
      CHECK(largest_error<float>(tempflow::cpu_backend(1), convention) < 4 * 3 * 0x1p-24);
      CHECK(largest_error<float16>(tempflow::cpu_backend(1), convention) < 4 * 3 * 0x1p-11);
      CHECK(largest_error<bfloat16>(tempflow::cpu_backend(1), convention) < 4 * 3 * 0x1p-8);
    }
  }
}

TEST_CASE("outputs of another type than states make velocities of the states' type, rounded once",
          "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  const auto x = support::random_batch<float>(rows, dimension, 1);
  const auto out = support::random_batch<bfloat16>(rows, dimension, 2);
  for (const auto predicts :
       {prediction::velocity, prediction::data_minus_noise, prediction::data, prediction::noise}) {
    index_t first = 0;
    auto network = tempflow::flow_model<float, bfloat16>(
        dimension, [&](auto states, auto times, auto, tempflow::batch_view<bfloat16> o) {
          CHECK(times[0] == 1000 * sigmas[static_cast<std::size_t>(first)]);
          tempflow::copy_rows(cpu, out.view().slice(first, states.rows()), o);
        });
    auto model = adapt_model(cpu, network, {.predicts = predicts, .time_at_noise = 1000});
    static_assert(std::same_as<tempflow::velocity_of<decltype(model)>, float>);
    static_assert(tempflow::velocity_model<decltype(model)>);
    batch_buffer<float> v(rows, dimension), expected(rows, dimension);
    // Calls of more rows than before, and of fewer.
    for (const auto& [from, count] : {std::pair<index_t, index_t>{0, 2}, {2, 3}, {5, 1}}) {
      first = from;
      const auto at = static_cast<std::size_t>(from), size = static_cast<std::size_t>(count);
      model.velocity(x.view().slice(from, count), std::span(sigmas).subspan(at, size),
                     std::span(prompts).subspan(at, size), v.view().slice(from, count));
    }
    std::vector<tempflow::transition> factors;
    for (const double sigma : sigmas) factors.push_back(tempflow::velocity_from(predicts, sigma));
    tempflow::ode_step(cpu, x, out, factors, expected.view());
    INFO("prediction " << static_cast<int>(predicts));
    CHECK(support::same_bits(v, expected));
    double largest = 0;
    for (index_t i = 0; i < rows; ++i) {
      const auto of = factors[static_cast<std::size_t>(i)];
      for (index_t e = 0; e < dimension; ++e) {
        const double terms[] = {of.alpha * support::value_of(x.view().row(i)[e]),
                                of.beta * support::value_of(out.view().row(i)[e])};
        largest = std::max(largest, std::abs(support::value_of(v.view().row(i)[e]) - terms[0] - terms[1]) /
                                        (std::abs(terms[0]) + std::abs(terms[1])));
      }
    }
    CHECK(largest < 3 * 0x1p-24);

    // Gradients of either type are pulled back, each in its own.
    const auto pulled = [&]<class G>(G) {
      auto gradient = support::random_batch<G>(rows, dimension, 3);
      const auto before = gradient;
      model.pull_back(sigmas, gradient.view());
      double error = 0;
      for (index_t i = 0; i < rows; ++i) {
        const double was =
            support::value_of(before.view().row(i)[0]) * factors[static_cast<std::size_t>(i)].beta;
        error = std::max(error, std::abs(support::value_of(gradient.view().row(i)[0]) - was) / std::abs(was));
      }
      return error;
    };
    CHECK(pulled(0.0f) < 0x1p-23);
    CHECK(pulled(bfloat16{}) < 0x1p-8);
  }
}

TEST_CASE("a rollout and a check of fp32 states run on bf16 outputs", "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  const model_convention convention{prediction::data, 1000, 0};
  auto host = convention_model<float>(dimension, flow, convention);
  auto rounded = tempflow::flow_model<float, bfloat16>(
      dimension, [&](auto x, auto time, auto of_rows, tempflow::batch_view<bfloat16> out) {
        batch_buffer<float> whole(x.rows(), x.columns());
        host.velocity(x, time, of_rows, whole);
        for (index_t i = 0; i < x.rows(); ++i)
          for (index_t e = 0; e < dimension; ++e)
            out.row(i)[e] = tempflow::store<bfloat16>(whole.view().row(i)[e]);
      });
  auto model = adapt_model(cpu, rounded, convention);
  auto exact = convention_model<float>(dimension, flow, {});
  const auto steps = tempflow::make_chain({0.98, 0.75, 0.5, 0.25, 0}, tempflow::flow_cps{0.5});
  const tempflow::flow_plan plan{.samples_per_prompt = 2, .max_batch = 5};
  const auto found = tempflow::roll_out(cpu, model, prompts, steps, plan, {.seed = 3}),
             expected = tempflow::roll_out(cpu, exact, prompts, steps, plan, {.seed = 3});
  CHECK(support::largest_difference(support::values_of(found.samples()),
                                    support::values_of(expected.samples())) < 0.05);
  CHECK(tempflow::check_model(cpu, model, steps, prompts, {.seed = 1}).problem == "");
}

TEST_CASE("a velocity model in the library's convention keeps its bits, and a reversed sign is exact",
          "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  const auto x = support::random_batch<float>(rows, dimension, 1);
  batch_buffer<float> direct(rows, dimension), same(rows, dimension), negated(rows, dimension);
  auto host = convention_model<float>(dimension, flow, {});
  host.velocity(x, sigmas, prompts, direct);
  adapt_model(cpu, host, {}).velocity(x, sigmas, prompts, same);
  CHECK(support::same_bits(same, direct));
  adapt_model(cpu, host, {.predicts = prediction::data_minus_noise}).velocity(x, sigmas, prompts, negated);
  int wrong = 0;
  for (index_t i = 0; i < rows * dimension; ++i)
    wrong += negated.view().data()[i] == -direct.view().data()[i] ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("a rollout of an adapted model is that of the flow", "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  const auto steps = tempflow::make_chain({0.98, 0.75, 0.5, 0.25, 0}, tempflow::flow_cps{0.5});
  const tempflow::branch_plan plan{.seeds_per_prompt = 2, .explorations = 2};
  const auto samples_of = [&](auto&& model) {
    const auto rollout = tempflow::roll_out(cpu, model, prompts, steps, plan, {.seed = 3});
    return support::values_of(rollout.samples());
  };
  auto plain = convention_model<double>(dimension, flow, {});
  const auto expected = samples_of(plain);
  for (const auto predicts : {prediction::data_minus_noise, prediction::data, prediction::noise}) {
    const model_convention convention{predicts, 1000, 0};
    const auto found =
        samples_of(adapt_model(cpu, convention_model<double>(dimension, flow, convention), convention));
    CHECK(support::largest_difference(found, expected) < 1e-12);
  }
}

TEST_CASE("a gradient of the velocity is pulled back to the model's output", "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  const auto x = support::random_batch<double>(rows, dimension, 1),
             of_v = support::random_batch<double>(rows, dimension, 2);
  for (const auto predicts :
       {prediction::velocity, prediction::data_minus_noise, prediction::data, prediction::noise}) {
    const model_convention convention{predicts, 1, 0};
    // L = sum of of_v * v: its derivative by an output, in finite differences of an affine function.
    const auto loss = [&](const batch_buffer<double>& outputs) {
      auto fixed = tempflow::flow_model<double>(
          dimension, [&](auto, auto, auto, auto out) { tempflow::copy_rows(cpu, outputs, out); });
      batch_buffer<double> v(rows, dimension);
      adapt_model(cpu, fixed, convention).velocity(x, sigmas, prompts, v);
      double sum = 0;
      for (index_t i = 0; i < rows * dimension; ++i) sum += of_v.view().data()[i] * v.view().data()[i];
      return sum;
    };
    auto gradient = of_v;
    auto idle = tempflow::flow_model<double>(dimension, [](auto, auto, auto, auto) {});
    adapt_model(cpu, idle, convention).pull_back(sigmas, gradient.view());
    auto outputs = support::random_batch<double>(rows, dimension, 3);
    for (const index_t i : {index_t{0}, 2 * dimension + 5, rows * dimension - 1}) {
      const double before = loss(outputs);
      outputs.view().data()[i] += 1;
      CHECK(loss(outputs) - before == Approx(gradient.view().data()[i]).epsilon(1e-9).margin(1e-10));
    }
  }
}

TEST_CASE("adapters of adapters pull a gradient back through both", "[adapters]") {
  const tempflow::cpu_backend cpu(1);
  auto network = tempflow::flow_model<double>(1, [](auto, auto, auto, auto) {});
  auto timed = adapt_model(cpu, network, {.predicts = prediction::data_minus_noise});
  auto model = adapt_model(cpu, timed, {.predicts = prediction::data});
  const std::vector<double> sigma{0.25};
  batch_buffer<double> gradient(1, 1);
  gradient.view().row(0)[0] = 3;
  model.pull_back(sigma, gradient.view());
  CHECK(gradient.view().row(0)[0] == 12);  // 3 * (-1 / 0.25) * -1
}

TEST_CASE("a function of the host's that is called pull_back is left alone", "[adapters]") {
  struct network {
    using value_type = double;
    index_t dimension() const { return 1; }
    void velocity(tempflow::batch_view<const double>, std::span<const double>, std::span<const index_t>,
                  tempflow::batch_view<double>) {}
    void pull_back(std::span<const double>, tempflow::batch_view<double>) const { FAIL("was called"); }
  };
  const tempflow::cpu_backend cpu(1);
  batch_buffer<double> gradient(1, 1);
  gradient.view().row(0)[0] = 3;
  adapt_model(cpu, network{}, {.predicts = prediction::data})
      .pull_back(std::vector<double>{0.5}, gradient.view());
  CHECK(gradient.view().row(0)[0] == -6);
}

TEST_CASE("where a prediction gives no velocity, it is refused before the model is called", "[adapters]") {
  using tempflow::velocity_from;
  CHECK(velocity_from(prediction::noise, 0) == tempflow::transition{.alpha = -1, .beta = 1});
  CHECK(velocity_from(prediction::data, 1) == tempflow::transition{.alpha = 1, .beta = -1});
  check_throws<value_error>([] { velocity_from(prediction::noise, 1); },
                            {"sigma = 1", "Start the grid below 1, as wan_sigmas does"});
  check_throws<value_error>([] { velocity_from(prediction::data, 0); }, {"sigma = 0"});
  for (const double sigma : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()})
    check_throws<value_error>([&] { velocity_from(prediction::velocity, sigma); }, {"must lie in [0, 1]"});

  const tempflow::cpu_backend cpu(1);
  int calls = 0;
  auto network = tempflow::flow_model<float>(2, [&](auto, auto, auto, auto) { ++calls; });
  auto model = adapt_model(cpu, network, {.predicts = prediction::noise});
  check_throws<value_error>(
      [&] {
        tempflow::roll_out(cpu, model, prompts, tempflow::make_chain({1, 0.5, 0}, tempflow::flow_sde{0.7}),
                           tempflow::branch_plan{.branch_steps = {0}}, {});
      },
      {"sigma = 1"});
  CHECK(calls == 0);
  check_throws<value_error>([&] { adapt_model(cpu, network, {.time_at_noise = 0}); },
                            {"time_at_data = 0, time_at_noise = 0"});
  check_throws<value_error>(
      [&] { adapt_model(cpu, network, {.time_at_noise = std::numeric_limits<double>::infinity()}); },
      {"time_at_noise = inf"});
}
