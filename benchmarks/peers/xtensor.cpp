// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// xtensor: lazy expressions row by row, in fp32; it has no 16-bit types.

#include <memory>
#include <random>
#if __has_include(<xtensor/containers/xadapt.hpp>)  // 0.26 and later
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/core/xmath.hpp>
#include <xtensor/core/xnoalias.hpp>
#include <xtensor/core/xtensor_config.hpp>
#include <xtensor/generators/xrandom.hpp>
#else
#include <xtensor/xadapt.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xrandom.hpp>
#include <xtensor/xtensor_config.hpp>
#endif

#include "../peer.hpp"

namespace bench {
namespace {

template <class Element>
auto adapt(Element* row, const task& t) {
  const auto size = static_cast<std::size_t>(t.columns);
  return xt::adapt(row, size, xt::no_ownership(), std::array<std::size_t, 1>{size});
}

template <class Expression>
double sum_of_squares(const Expression& e) {
  return double{xt::sum(xt::square(e), xt::evaluation_strategy::immediate)()};
}

/// Calls use(x, v, y) with the rows of a sample, where y is what `y` points to.
template <class Y, class Use>
void with_sample(const task& t, const buffers& b, Y* y, index i, const Use& use) {
  const auto xs = adapt(row<float>(b.x, t, i), t), vs = adapt(row<float>(b.v, t, i), t);
  auto ys = adapt(y, t);
  use(xs, vs, ys);
}

operation log_prob(const task& t) {
  return [&t](const buffers& b, results& r) {
    const auto alpha = static_cast<float>(t.step.alpha), beta = static_cast<float>(t.step.beta);
    t.for_each_row(t.rows, [&](index i) {
      with_sample(t, b, row<float>(b.y, t, i), i, [&](const auto& x, const auto& v, const auto& y) {
        r.log_probs[static_cast<std::size_t>(i)] = log_prob_of(t, sum_of_squares(y - alpha * x - beta * v));
      });
    });
  };
}

operation policy_loss(const task& t) {
  return [&t, losses = std::vector<double>(static_cast<std::size_t>(t.rows))](const buffers& b,
                                                                              results& r) mutable {
    const auto alpha = static_cast<float>(t.step.alpha), beta = static_cast<float>(t.step.beta);
    t.for_each_row(t.rows, [&](index i) {
      with_sample(t, b, row<float>(b.y, t, i), i, [&](const auto& x, const auto& v, const auto& y) {
        const auto v_ref = adapt(row<float>(b.v_ref, t, i), t);
        const auto residual = y - alpha * x - beta * v;
        const auto difference = v - v_ref;
        const row_loss l = loss_of(t, i, sum_of_squares(residual), sum_of_squares(difference));
        losses[static_cast<std::size_t>(i)] = l.loss;
        auto gradient = adapt(row<float>(b.out, t, i), t);
        xt::noalias(gradient) =
            static_cast<float>(l.on_residual) * residual + static_cast<float>(l.on_difference) * difference;
      });
    });
    r.loss = 0;
    for (const double loss : losses) r.loss += loss;
  };
}

operation step(const task& t) {
  // A generator a row, so that rows can be drawn at the same time.
  std::vector<std::shared_ptr<std::mt19937>> engines;
  for (index i = 0; i < t.rows; ++i)
    engines.push_back(std::make_shared<std::mt19937>(static_cast<std::uint32_t>(i)));
  return [&t, engines](const buffers& b, results& r) {
    const auto alpha = static_cast<float>(t.step.alpha), beta = static_cast<float>(t.step.beta),
               std = static_cast<float>(t.step.std);
    t.for_each_row(t.rows, [&](index i) {
      with_sample(t, b, row<float>(b.out, t, i), i, [&](const auto& x, const auto& v, auto& y) {
        auto& engine = *engines[static_cast<std::size_t>(i)];
        const auto mean = alpha * x + beta * v;
        xt::noalias(y) = mean + std * xt::random::randn<float>(x.shape(), 0.0f, 1.0f, engine);
        r.log_probs[static_cast<std::size_t>(i)] = log_prob_of(t, sum_of_squares(y - mean));
      });
    });
  };
}

std::string version() {
  return std::to_string(XTENSOR_VERSION_MAJOR) + "." + std::to_string(XTENSOR_VERSION_MINOR) + "." +
         std::to_string(XTENSOR_VERSION_PATCH) +
#if defined(XTENSOR_USE_XSIMD)
         " with xsimd"
#else
         " without xsimd"
#endif
      ;
}

const registration added({"xtensor",
                          version() +
                              ", -O3 -march=native, lazy expressions row by row; noise: random::randn",
                          {{kernel::step, storage::f32, step},
                           {kernel::log_prob, storage::f32, log_prob},
                           {kernel::policy_loss, storage::f32, policy_loss}}});

}  // namespace
}  // namespace bench
