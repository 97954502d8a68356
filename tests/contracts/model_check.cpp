// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// The check of a model's convention, on closed-form flows of Gaussian and two-peaked data: its numbers against
// formulas, no alarm for the right convention, and an alarm for every wrong one that it claims to see.

#include "tempflow/rollout/model_check.hpp"

#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/gaussian_flow.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/core/normal.hpp"

using support::check_throws;
using support::convention_model;
using support::gaussian_flow;
using support::guided_peak;
using support::two_peaks;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::chain;
using tempflow::index_t;
using tempflow::model_convention;
using tempflow::model_report;
using tempflow::prediction;

namespace {

constexpr index_t dimension = 2, of_prompt = 600;
const std::vector<index_t> prompts{3, 8};
constexpr tempflow::noise_key key{.seed = 1};
const tempflow::cpu_backend cpu(1);

chain steps_of(index_t count) { return tempflow::make_chain(tempflow::sd3_sigmas(count), tempflow::ode{}); }

const std::vector<gaussian_flow> gaussians{{0, 1},  {0.5, 1}, {0, 0.3}, {2, 0.3},
                                           {-2, 1}, {0, 3},   {3, 3},   {0, 0.05}};
const std::vector<two_peaks> peaks{{2, 0.2}, {1, 0.3}};

// Samples of a flow's data, from standard normals.
template <class Flow>
batch_buffer<float> data_of(const Flow& flow) {
  const auto rows = static_cast<index_t>(prompts.size()) * of_prompt;
  batch_buffer<float> data(rows, dimension);
  for (index_t i = 0; i < rows * dimension; ++i) {
    const auto normals = tempflow::noise_block({.seed = 9}, {}, i);
    data.view().data()[i] = static_cast<float>(flow.sample(normals.value[0], normals.value[1]));
  }
  return data;
}

template <class Flow>
model_report check(const Flow& flow, const model_convention& convention, const chain& steps,
                   batch_view<const float> data = {}) {
  auto model = convention_model<float>(dimension, flow, convention);
  return tempflow::check_model(cpu, model, steps, prompts, key, data);
}

template <class Flow>
void expect_problem(const Flow& flow, const model_convention& convention, bool with_data) {
  const auto data = data_of(flow);
  for (const index_t steps : {4, 10, 28}) {
    const auto report =
        check(flow, convention, steps_of(steps), with_data ? data.view() : batch_view<const float>());
    INFO(steps << " steps, prediction " << static_cast<int>(convention.predicts) << ", time "
               << convention.time_at_data << " to " << convention.time_at_noise);
    CHECK_FALSE(report.consistent());
  }
}

}  // namespace

TEST_CASE("a model of the library's convention raises no alarm", "[model_check]") {
  const auto check_all = [](const auto& flows) {
    for (const auto& flow : flows) {
      const auto data = data_of(flow);
      for (const index_t steps : {4, 10, 28}) {
        INFO("std " << flow.std << ", " << steps << " steps");
        const auto alone = check(flow, {}, steps_of(steps));
        CHECK(alone.problem == "");
        CHECK(alone.hint == "");
        const auto report = check(flow, {}, steps_of(steps), data.view());
        CHECK(report.problem == "");
        CHECK(report.hint == "");
        CHECK(report.fits == model_convention{});
        CHECK(report.time_response > 0.3);  // far from the 0.1 of an alarm
      }
    }
  };
  check_all(gaussians);
  check_all(peaks);
}

TEST_CASE("no grid of a right model raises an alarm", "[model_check]") {
  const auto expect_none = [](const auto& flow, const std::vector<double>& sigmas) {
    const auto steps = tempflow::make_chain(sigmas, tempflow::ode{});
    const auto data = data_of(flow);
    INFO("std " << flow.std << ", from " << sigmas[0] << " over " << sigmas[1]);
    CHECK(check(flow, {}, steps).problem == "");
    CHECK(check(flow, {}, steps, data.view()).problem == "");
    return check(flow, {}, steps);
  };
  // At sigma = 1/2 the reversed time is the same time.
  const gaussian_flow flow(0.3, 1);
  for (const auto& sigmas : {std::vector<double>{1, 0}, {1, 0.5, 0}, {1, 0.52, 0.48, 0}})
    CHECK(std::isnan(expect_none(flow, sigmas).time_response));
  CHECK(std::isnan(expect_none(flow, tempflow::shifted_linspace_sigmas(2, 1)).time_response));
  CHECK(expect_none(flow, {1, 0.7, 0.5, 0}).time_response > 0.3);
  // Two or three steps end between two peaks, which is none of their data.
  for (const index_t steps : {1, 2, 3})
    for (const auto& of : peaks) CHECK(expect_none(of, tempflow::sd3_sigmas(steps)).hint == "");
  // Below pure noise the slope depends on the data: (sigma - (1 - sigma) S^2) / V.
  for (const auto& [start, std] : {std::pair{0.95, 4.0}, {0.98, 5.0}, {0.99, 8.0}, {0.999, 8.0}})
    expect_none(gaussian_flow(0, std), {start, 0.8, 0.6, 0.4, 0.2, 0});
}

TEST_CASE("a guided model raises no alarm, and at most a hint", "[model_check]") {
  const double half = std::sqrt(0.5);
  for (const double apart : {0.1, 0.2, 0.3, 0.5, half, 0.9}) {
    for (const double scale : {1.0, 2.5, 3.5, 4.5, 7.5, 12.0}) {
      const guided_peak flow(apart, std::sqrt(1 - apart * apart), scale);
      const auto data = data_of(flow);
      for (const index_t steps : {4, 10, 28}) {
        INFO("apart " << apart << ", guidance " << scale << ", " << steps << " steps");
        const auto alone = check(flow, {}, steps_of(steps)),
                   report = check(flow, {}, steps_of(steps), data.view());
        CHECK(alone.problem == "");
        CHECK(report.problem == "");
        CHECK(report.fits == model_convention{});
        CHECK(report.noise_slope == Approx(1).epsilon(1e-5));
        double error = 0;
        for (const auto& step : report.steps) error = std::max(error, step.error);
        CHECK(report.hint.empty() == (error <= 1.2));
      }
      // A wrong sign or a reversed time shows all the same.
      CHECK_FALSE(check(flow, {.predicts = prediction::data_minus_noise}, steps_of(10)).consistent());
      CHECK_FALSE(check(flow, {.time_at_data = 1, .time_at_noise = 0}, steps_of(10)).consistent());
    }
  }
  const guided_peak flow(half, half, 7.5);
  const auto data = data_of(flow);
  const std::string alone = check(flow, {}, steps_of(10)).hint,
                    hint = check(flow, {}, steps_of(10), data.view()).hint;
  INFO(alone << "; " << hint);
  CHECK(hint.find("Guidance alone may do that: check the model without it") != std::string::npos);
  CHECK(hint.find("another scale") != std::string::npos);
  CHECK(alone.find("on the model's own samples. Guidance") != std::string::npos);
  CHECK(alone.find("with data") != std::string::npos);
}

TEST_CASE("an adapted model raises no alarm in its own convention", "[model_check]") {
  // Predictions of noise need a grid that starts below 1.
  const auto steps = tempflow::make_chain({0.99, 0.8, 0.6, 0.4, 0.2, 0}, tempflow::ode{});
  const gaussian_flow flow(0.5, 0.8);
  const auto data = data_of(flow);
  for (const auto predicts : {prediction::data_minus_noise, prediction::data, prediction::noise}) {
    for (const double time : {1.0, 1000.0}) {
      const model_convention convention{predicts, time, 0};
      auto host = convention_model<float>(dimension, flow, convention);
      auto model = tempflow::adapt_model(cpu, host, convention);
      CHECK(tempflow::check_model(cpu, model, steps, prompts, key).problem == "");
      CHECK(tempflow::check_model(cpu, model, steps, prompts, key, data.view()).problem == "");
    }
  }
  auto host = convention_model<float>(dimension, flow, {prediction::data, 0, 1});
  auto model = tempflow::adapt_model(cpu, host, {prediction::data, 0, 1});
  CHECK(tempflow::check_model(cpu, model, steps_of(10), prompts, key).problem == "");  // at sigma = 1 too
}

TEST_CASE("the numbers of a right model are those of theory", "[model_check]") {
  for (const auto& flow : gaussians) {
    const auto data = data_of(flow);
    const auto steps = steps_of(10);
    const auto report = check(flow, {}, steps, data.view());
    REQUIRE(report.steps.size() == 10);
    INFO("mean " << flow.mean << ", std " << flow.std);
    CHECK(report.noise_slope == Approx(1).epsilon(1e-5));  // v = x - mean
    CHECK(report.steps[0].data.mean == Approx(flow.mean).margin(1e-5));
    CHECK(report.steps[0].data.std < 1e-5);
    CHECK(report.steps[0].change == 0);
    // The ODE is affine in the noise: mean 0 and std 1 at the start, then Euler's factors.
    const double first_mean = report.steps[0].x.mean, first_std = report.steps[0].x.std;
    double slope = 1, offset = 0;  // x = slope noise + offset
    for (std::size_t i = 0; i < 10; ++i) {
      const double sigma = steps.sigmas()[i], dt = steps.sigmas()[i + 1] - sigma;
      const auto& at = report.steps[i];
      CHECK(at.sigma == sigma);
      CHECK(at.x.mean == Approx(slope * first_mean + offset).margin(1e-5));
      CHECK(at.x.std == Approx(std::abs(slope) * first_std).margin(1e-5));
      const double predicted = flow.data(offset, sigma),
                   of_noise = flow.data(offset + slope, sigma) - predicted;
      CHECK(at.data.mean == Approx(of_noise * first_mean + predicted).margin(1e-5));
      CHECK(at.data.std == Approx(std::abs(of_noise) * first_std).margin(1e-5));
      CHECK(at.data.min <= at.data.mean);
      CHECK(at.data.max >= at.data.mean);
      const double v = flow.velocity(offset, sigma), of_v = flow.velocity(offset + slope, sigma) - v;
      slope += dt * of_v, offset += dt * v;
      // Var(noise - data | x) = std^2 / V, over 1 + std^2 + mean^2; 2,400 elements know it to a tenth or so.
      const double kept = 1 - sigma, variance = kept * kept * flow.std * flow.std + sigma * sigma;
      CHECK(at.error ==
            Approx(flow.std * flow.std / variance / (1 + flow.std * flow.std + flow.mean * flow.mean))
                .epsilon(0.15));
    }
    CHECK(report.samples.mean == Approx(slope * first_mean + offset).margin(1e-5));
    CHECK(report.samples.std == Approx(std::abs(slope) * first_std).margin(1e-5));
    // The grid ends at 0: the last predicted data are the samples.
    CHECK(report.samples.mean == Approx(report.steps[9].data.mean).margin(1e-5));
    CHECK(report.samples.std == Approx(report.steps[9].data.std).margin(1e-5));
  }
}

TEST_CASE("a wrong sign, a reversed time, a time in thousandths and predicted data show without data",
          "[model_check]") {
  const auto check_all = [](const auto& flows) {
    for (const auto& flow : flows) {
      INFO("std " << flow.std);
      expect_problem(flow, {.predicts = prediction::data_minus_noise}, false);
      expect_problem(flow, {.predicts = prediction::velocity, .time_at_data = 1, .time_at_noise = 0}, false);
      expect_problem(flow, {.predicts = prediction::data}, false);
      for (const auto predicts : {prediction::velocity, prediction::data_minus_noise, prediction::data}) {
        expect_problem(flow, {predicts, 0, 1000}, false);
        expect_problem(flow, {predicts, 1000, 0}, false);
      }
    }
  };
  check_all(std::vector<gaussian_flow>(gaussians.begin(), gaussians.end() - 1));  // 0.05 hides thousandths
  check_all(peaks);
}

TEST_CASE("the problem names what looks wrong", "[model_check]") {
  const gaussian_flow flow(0.5, 0.8);
  const auto names = [&](const model_convention& convention, const std::string& text) {
    const std::string problem = check(flow, convention, steps_of(10)).problem;
    INFO(problem);
    CHECK(problem.find(text) != std::string::npos);
  };
  names({.predicts = prediction::data_minus_noise}, "the sign may be wrong");
  names({.time_at_data = 1, .time_at_noise = 0}, "the time run the other way");
  names({.predicts = prediction::data}, "the model may predict data");
  names({.time_at_noise = 1000}, "another scale (adapt_model with .time_at_noise = 1000)");

  const auto expect_time = [&](auto&& model) {
    const std::string problem = tempflow::check_model(cpu, model, steps_of(10), prompts, key).problem;
    CHECK(problem.find("or have been given one that it does not have; or the model is not trained") !=
          std::string::npos);
  };
  auto host = convention_model<float>(dimension, flow, {});
  expect_time(tempflow::adapt_model(cpu, host, {.time_at_noise = 1000}));  // of a model that takes sigma
  expect_time(tempflow::flow_model<float>(dimension, [](auto, auto, auto, batch_view<float> v) {
    const batch_buffer<float> zeros(v.rows(), v.columns());
    tempflow::copy_rows(cpu, zeros, v);
  }));
}

TEST_CASE("below pure noise a wrong sign is a hint, and with data a problem", "[model_check]") {
  const gaussian_flow flow(2, 1);
  const auto data = data_of(flow);
  const auto steps = tempflow::make_chain({0.9, 0.7, 0.5, 0.3, 0.1, 0}, tempflow::ode{});
  const auto alone = check(flow, {.predicts = prediction::data_minus_noise}, steps);
  CHECK(alone.problem == "");
  CHECK(alone.hint.find("the convention may be wrong: with data") != std::string::npos);
  const auto report = check(flow, {.predicts = prediction::data_minus_noise}, steps, data.view());
  CHECK(report.problem.find("prediction::data_minus_noise") != std::string::npos);
  CHECK(report.hint == "");
}

TEST_CASE("the model is called with max_batch rows at most, and the report is the same", "[model_check]") {
  const gaussian_flow flow(0.5, 0.8);
  const auto data = data_of(flow);
  auto host = convention_model<float>(dimension, flow, {});
  index_t largest = 0;
  auto model = tempflow::flow_model<float>(dimension, [&](auto x, auto sigma, auto of_rows, auto v) {
    largest = std::max(largest, x.rows());
    CHECK(static_cast<index_t>(sigma.size()) == x.rows());
    CHECK(static_cast<index_t>(of_rows.size()) == x.rows());
    host.velocity(x, sigma, of_rows, v);
  });
  const auto report_of = [&](index_t max_batch, batch_view<const float> of) {
    largest = 0;
    return to_string(tempflow::check_model(cpu, model, steps_of(4), prompts, key, of, max_batch));
  };
  const std::string whole = report_of(0, data), alone = report_of(0, {});
  CHECK(report_of(7, data) == whole);
  CHECK(largest == 7);
  CHECK(report_of(500, {}) == alone);
  CHECK(largest == 500);
  CHECK(report_of(5000, data) == whole);
  CHECK(largest == 1200);
}

TEST_CASE("with data every convention is seen and named, where it differs on them", "[model_check]") {
  const auto check_all = [](const auto& flows, std::size_t from) {
    for (std::size_t f = from; f < flows.size(); ++f) {
      const auto data = data_of(flows[f]);
      for (const auto predicts :
           {prediction::velocity, prediction::data_minus_noise, prediction::data, prediction::noise}) {
        for (const double time_at_data : {0.0, 1.0}) {
          const model_convention convention{predicts, time_at_data, 1 - time_at_data};
          const auto report = check(flows[f], convention, steps_of(10), data.view());
          INFO("flow " << f << ", prediction " << static_cast<int>(predicts) << ", time at data "
                       << time_at_data);
          REQUIRE(report.fits.has_value());
          const bool right = convention == model_convention{};
          CHECK(report.consistent() == right);
          CHECK((report.fits == model_convention{}) == right);
          CHECK((report.problem.find("predicts the data best as {.predicts = prediction::") ==
                 std::string::npos) == right);
          CHECK((report.problem.find("wrap it by adapt_model") == std::string::npos) == right);
        }
      }
    }
  };
  check_all(std::vector<gaussian_flow>{{0.5, 1}, {2, 0.3}, {-2, 1}, {3, 3}}, 0);
  check_all(peaks, 0);
  // N(0, 1) is what it is from either end.
  const gaussian_flow symmetric(0, 1);
  const auto data = data_of(symmetric);
  CHECK(check(symmetric, {prediction::data_minus_noise, 1, 0}, steps_of(10), data.view()).consistent());
}

TEST_CASE("with data the convention is named exactly", "[model_check]") {
  const gaussian_flow flow(-2, 1);
  const auto data = data_of(flow);
  for (const auto predicts :
       {prediction::velocity, prediction::data_minus_noise, prediction::data, prediction::noise}) {
    for (const double time_at_data : {0.0, 1.0}) {
      const model_convention convention{predicts, time_at_data, 1 - time_at_data};
      CHECK(check(flow, convention, steps_of(10), data.view()).fits == convention);
    }
  }
}

TEST_CASE("a velocity that is not finite is a problem of its step", "[model_check]") {
  const gaussian_flow flow;
  auto model = tempflow::flow_model<float>(
      dimension, [&](auto x, std::span<const double> sigma, auto, batch_view<float> v) {
        for (index_t i = 0; i < x.rows(); ++i) {
          for (index_t e = 0; e < dimension; ++e)
            v.row(i)[e] = static_cast<float>(flow.velocity(support::value_of(x.row(i)[e]), sigma[0]));
        }
        if (sigma[0] == 0.5) v.row(1)[0] = std::numeric_limits<float>::quiet_NaN();
      });
  const auto report = tempflow::check_model(
      cpu, model, tempflow::make_chain({1, 0.75, 0.5, 0}, tempflow::ode{}), prompts, key);
  CHECK(report.problem.find("not finite at step 2 (sigma = 0.5)") != std::string::npos);
  CHECK(report.steps.size() == 3);

  // Asked about samples with noise: the fourth call.
  int calls = 0;
  auto late = tempflow::flow_model<float>(dimension, [&](auto x, auto, auto, batch_view<float> v) {
    tempflow::copy_rows(cpu, x, v);
    if (++calls == 4) v.row(0)[0] = std::numeric_limits<float>::infinity();
  });
  CHECK(
      tempflow::check_model(cpu, late, tempflow::make_chain({1, 0.75, 0.5, 0}, tempflow::ode{}), prompts, key)
          .problem.find("not finite on samples with noise (sigma = 1)") != std::string::npos);
}

TEST_CASE("a report is a table and a sentence", "[model_check]") {
  std::ostringstream out;
  out.precision(17);
  out << check(gaussian_flow{}, {}, steps_of(10));
  const std::string text = out.str();
  CHECK(std::count(text.begin(), text.end(), '\n') ==
        1 + 10 + 2);  // a heading, the steps, samples and verdict
  CHECK(text.find("nothing looks wrong") != std::string::npos);
  CHECK(out.precision() == 17);
  out.str("");
  out << check(gaussian_flow{}, {.predicts = prediction::data_minus_noise}, steps_of(10));
  CHECK(out.str().find("problem: ") != std::string::npos);
  const std::string hint = to_string(check(guided_peak(0.9, 0.4, 7.5), {}, steps_of(10)));
  CHECK(hint.find("hint: at sigma") != std::string::npos);
  CHECK(hint.find("nothing looks wrong") == std::string::npos);
}

TEST_CASE("a check of what makes no sense is an error that names it", "[model_check][bad_input]") {
  auto model = convention_model<float>(dimension, gaussian_flow{}, {});
  const auto steps = steps_of(4);
  const batch_buffer<float> odd(3, dimension), wide(4, dimension + 1);
  check_throws<tempflow::shape_error>([&] { tempflow::check_model(cpu, model, steps, prompts, key, odd); },
                                      {"data is 3 x 2", "a multiple of 2 rows of 2 elements"});
  check_throws<tempflow::shape_error>([&] { tempflow::check_model(cpu, model, steps, prompts, key, wide); },
                                      {"data is 4 x 3"});
  check_throws<tempflow::value_error>([&] { tempflow::check_model(cpu, model, steps, prompts, key, {}, -1); },
                                      {"check_model: max_batch = -1"});
  const std::vector<index_t> none, twice{3, 3};
  check_throws<tempflow::value_error>([&] { tempflow::check_model(cpu, model, steps, none, key); },
                                      {"no prompts"});
  check_throws<tempflow::group_error>([&] { tempflow::check_model(cpu, model, steps, twice, key); },
                                      {"prompt id 3", "twice"});
}
