// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Classifier-free guidance: its formula in double, its gradient as finite differences, tokens that are 0, and bad input.

#include "tempflow/ops/guidance.hpp"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/batches.hpp"
#include "support/catch.hpp"
#include "support/outputs.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/backend/reference.hpp"

using support::check_throws;
using support::random_batch;
using support::unchanged;
using support::value_of;
using tempflow::batch_buffer;
using tempflow::batch_view;
using tempflow::bfloat16;
using tempflow::cpu_backend;
using tempflow::float16;
using tempflow::guidance_options;
using tempflow::index_t;
using tempflow::reference_backend;
using tempflow::shape_error;
using tempflow::value_error;

namespace {

// Half the distance between neighbouring numbers of a type, relative and at its smallest.
template <class T>
double roundoff() {
  if (std::is_same_v<T, double>) return 0x1p-53;
  if (std::is_same_v<T, float>) return 0x1p-24;
  return std::is_same_v<T, bfloat16> ? 0x1p-8 : 0x1p-11;
}
template <class T>
double smallest() {
  return tempflow::detail::smallest_stored<T>() / 2;
}
template <class T>
constexpr double compute_roundoff = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;

// A token in double: m, and what its norms are.
struct token {
  double w;
  std::vector<double> c, u, m;
  double norm_c = 0, norm_m = 0, moved = 0;  ///< |c|, |m|, |w| |c - u|

  template <class T>
  token(const T* of_c, const T* of_u, index_t channels, double scale) : w(scale) {
    for (index_t k = 0; k < channels; ++k) {
      c.push_back(value_of(of_c[k])), u.push_back(value_of(of_u[k]));
      const double d = c.back() - u.back();
      m.push_back(u.back() + w * d);
      norm_c += c.back() * c.back(), norm_m += m.back() * m.back(), moved += w * d * w * d;
    }
    norm_c = std::sqrt(norm_c), norm_m = std::sqrt(norm_m), moved = std::sqrt(moved);
  }

  double channels() const { return static_cast<double>(c.size()); }
  double factor() const { return norm_c / norm_m; }

  // The error of m in roundings, relative to |m|: of w (c - u), and of m.
  double condition() const { return (moved + norm_m) / norm_m; }
  // Of a sum of squares: a lane's, of every 32nd element, and the five that fold the lanes; and one square's own.
  double of_sum() const { return channels() / 32 + 7; }
};

}  // namespace

TEMPLATE_TEST_CASE("guidance is the formula, within roundings of each step", "[guidance]", float, double,
                   bfloat16, float16) {
  using T = TestType;
  const double eps = compute_roundoff<T>, stored = roundoff<T>();
  for (const index_t channels : {1, 3, 31, 32, 64, 100, 1500}) {
    const index_t rows = 3, columns = 7 * channels;
    const auto c = random_batch<T>(rows, columns, 1), u = random_batch<T>(rows, columns, 2);
    const std::vector<double> scales{4.5, 1.0, -0.75};
    batch_buffer<T> linear(rows, columns), kept(rows, columns);
    tempflow::guide(cpu_backend(2), c, u, {.scale = scales}, linear);
    tempflow::guide(cpu_backend(2), c, u, {.scale = scales, .channels = channels}, kept);
    int wrong_linear = 0, wrong_kept = 0;
    for (index_t i = 0; i < rows; ++i) {
      for (index_t e = 0; e < columns; e += channels) {
        const token t(c.view().row(i) + e, u.view().row(i) + e, channels,
                      scales[static_cast<std::size_t>(i)]);
        for (index_t k = 0; k < channels; ++k) {
          const auto at = static_cast<std::size_t>(k);
          const double m = t.m[at], v = m * t.factor(), slack = 1 + 1e-3;
          const double of_m = eps * (std::abs(t.w * (t.c[at] - t.u[at])) + std::abs(m));
          const double of_factor = eps * (t.condition() + t.of_sum() + 4);
          wrong_linear += std::abs(value_of(linear.view().row(i)[e + k]) - m) <=
                                  slack * (of_m + stored * std::abs(m)) + smallest<T>()
                              ? 0
                              : 1;
          wrong_kept +=
              std::abs(value_of(kept.view().row(i)[e + k]) - v) <=
                      slack * (t.factor() * of_m + std::abs(v) * (of_factor + stored)) + smallest<T>()
                  ? 0
                  : 1;
        }
      }
    }
    INFO(channels << " channels");
    CHECK(wrong_linear == 0);
    CHECK(wrong_kept == 0);
  }
}

TEMPLATE_TEST_CASE("the gradient of guidance is the formula, within roundings of each step", "[guidance]",
                   float, double, bfloat16, float16) {
  using T = TestType;
  const double eps = compute_roundoff<T>, stored = roundoff<T>();
  for (const index_t channels : {1, 3, 31, 32, 64, 100, 1500}) {
    const index_t rows = 2, columns = 5 * channels;
    const auto c = random_batch<T>(rows, columns, 1), u = random_batch<T>(rows, columns, 2),
               g = random_batch<T>(rows, columns, 3);
    const std::vector<double> scales{4.5, 0.25};
    batch_buffer<T> of_c(rows, columns), of_u(rows, columns), linear_c(rows, columns),
        linear_u(rows, columns);
    tempflow::guide_gradient(cpu_backend(2), g, {}, {}, {.scale = scales}, linear_c, linear_u);
    tempflow::guide_gradient(cpu_backend(2), g, c, u, {.scale = scales, .channels = channels}, of_c, of_u);
    int wrong_linear = 0, wrong = 0;
    for (index_t i = 0; i < rows; ++i) {
      for (index_t e = 0; e < columns; e += channels) {
        const token t(c.view().row(i) + e, u.view().row(i) + e, channels,
                      scales[static_cast<std::size_t>(i)]);
        std::vector<double> up;
        double along = 0, norm = 0;
        for (index_t k = 0; k < channels; ++k) {
          up.push_back(value_of(g.view().row(i)[e + k]));
          along += up.back() * t.m[static_cast<std::size_t>(k)], norm += up.back() * up.back();
        }
        norm = std::sqrt(norm);
        // Each of the sums, roots and quotients that a coefficient is made of, times what it scales: none is above |g|.
        const double roundings = 8 * t.condition() * (t.of_sum() + 1);
        for (index_t k = 0; k < channels; ++k) {
          const auto at = static_cast<std::size_t>(k);
          const double of_m = t.factor() * (up[at] - along / (t.norm_m * t.norm_m) * t.m[at]);
          const double expected_c = t.w * of_m + along / (t.norm_m * t.norm_c) * t.c[at],
                       expected_u = (1 - t.w) * of_m;
          const auto near = [&](const batch_buffer<T>& found, double expected, double size) {
            const double bound = eps * roundings * size + stored * std::abs(expected) * 1.001 + smallest<T>();
            return std::abs(value_of(found.view().row(i)[e + k]) - expected) <= bound ? 0 : 1;
          };
          const double of_factor = t.factor() * norm;
          wrong += near(of_c, expected_c, std::abs(t.w) * of_factor + norm);
          wrong += near(of_u, expected_u, std::abs(1 - t.w) * of_factor);
          wrong_linear += near(linear_c, t.w * up[at], std::abs(up[at]));
          wrong_linear += near(linear_u, (1 - t.w) * up[at], std::abs(up[at]));
        }
      }
    }
    INFO(channels << " channels");
    CHECK(wrong_linear == 0);
    CHECK(wrong == 0);
  }
}

TEST_CASE("the gradient of guidance is that of its values, by finite differences", "[guidance]") {
  const index_t rows = 2, columns = 12;
  const reference_backend backend;
  const std::vector<double> scales{3.5, -0.5};
  for (const index_t channels : {0, 1, 4, 12}) {
    const guidance_options options{.scale = scales, .channels = channels};
    auto c = random_batch<double>(rows, columns, 1), u = random_batch<double>(rows, columns, 2);
    const auto g = random_batch<double>(rows, columns, 3);
    batch_buffer<double> of_c(rows, columns), of_u(rows, columns), v(rows, columns);
    tempflow::guide_gradient(backend, g, c, u, options, of_c, of_u);
    const auto loss = [&] {
      tempflow::guide(backend, c, u, options, v);
      double sum = 0;
      for (index_t e = 0; e < rows * columns; ++e) sum += g.view().data()[e] * v.view().data()[e];
      return sum;
    };
    double worst = 0;
    for (auto [input, gradient] : {std::pair(&c, &of_c), std::pair(&u, &of_u)}) {
      for (index_t e = 0; e < rows * columns; ++e) {
        double& element = input->view().data()[e];
        const double before = element, h = 1e-5;
        element = before + h;
        const double above = loss();
        element = before - h;
        const double below = loss();
        element = before;
        worst = std::max(worst, std::abs((above - below) / (2 * h) - gradient->view().data()[e]));
      }
    }
    INFO(channels << " channels");
    CHECK(worst < 1e-6);  // h^2 times a third derivative of some 100, and 1e-16 / h
  }
}

TEMPLATE_TEST_CASE("tokens without a direction become 0, with gradients of 0, and leave the others alone",
                   "[guidance]", float, double, bfloat16, float16) {
  using T = TestType;
  const index_t channels = 40, columns = 4 * channels;  // of them the first is as usual
  auto c = random_batch<T>(1, columns, 1), u = random_batch<T>(1, columns, 2);
  const auto g = random_batch<T>(1, columns, 3);
  const auto token_of = [&](auto& batch, index_t t) { return batch.view().data() + t * channels; };
  for (index_t k = 0; k < channels; ++k) {
    token_of(c, 1)[k] = T{};                                                  // |c| = 0
    token_of(u, 2)[k] = tempflow::store<T>(2 * value_of(token_of(c, 2)[k]));  // |m| = |2 c - u| = 0
    token_of(c, 3)[k] = token_of(u, 3)[k] = T{};
  }
  const auto check = [&](const auto& backend) {
    batch_buffer<T> v(1, columns), of_c(1, columns), of_u(1, columns), first(1, channels),
        c_first(1, channels), u_first(1, channels);
    const guidance_options options{.scale = 2.0, .channels = channels};
    tempflow::guide(backend, c, u, options, v);
    tempflow::guide_gradient(backend, g, c, u, options, of_c, of_u);
    for (auto* result : {&v, &of_c, &of_u}) {
      int zeros = 0;
      for (index_t e = channels; e < columns; ++e) zeros += value_of(result->view().data()[e]) == 0 ? 1 : 0;
      CHECK(zeros == columns - channels);
    }
    const auto one = [&](const batch_buffer<T>& batch) {
      return batch_view<const T>(batch.view().data(), 1, channels);
    };
    tempflow::guide(backend, one(c), one(u), options, first);
    tempflow::guide_gradient(backend, one(g), one(c), one(u), options, c_first, u_first);
    CHECK(support::same_bits(first.view(), one(v)));
    CHECK(support::same_bits(c_first.view(), one(of_c)));
    CHECK(support::same_bits(u_first.view(), one(of_u)));
    CHECK(std::abs(value_of(first.view().data()[0])) > 0);
  };
  check(reference_backend{});
  check(cpu_backend(1));
}

TEST_CASE("what is not finite stays within its token, and shows", "[guidance]") {
  const index_t channels = 33, columns = 3 * channels;
  const auto clean = random_batch<float>(1, columns, 1), u = random_batch<float>(1, columns, 2),
             g = random_batch<float>(1, columns, 3);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto c = clean;
    c.view().data()[channels + 5] = bad;
    batch_buffer<float> v(1, columns), of_c(1, columns), of_u(1, columns);
    const guidance_options options{.scale = 2.0, .channels = channels};
    tempflow::guide(cpu_backend(1), c, u, options, v);
    tempflow::guide_gradient(cpu_backend(1), g, c, u, options, of_c, of_u);
    for (auto* result : {&v, &of_c, &of_u}) {
      for (index_t t = 0; t < 3; ++t) {
        int finite = 0;
        for (index_t k = 0; k < channels; ++k)
          finite += tempflow::is_finite(result->view().data()[t * channels + k]) ? 1 : 0;
        CHECK((t == 1 ? finite < channels : finite == channels));
      }
    }
  }
}

TEST_CASE("a scale of 1 gives the conditional prediction, of 0 the unconditional one", "[guidance]") {
  const auto c = random_batch<float>(2, 70, 1), u = random_batch<float>(2, 70, 2);
  batch_buffer<float> v(2, 70), of_c(2, 70), of_u(2, 70);
  tempflow::guide(cpu_backend(1), c, u, {.scale = 0.0}, v);
  CHECK(support::same_bits(v, u));
  tempflow::guide(cpu_backend(1), c, u, {}, v);
  CHECK(support::largest_difference(support::values_of(v.view()), support::values_of(c.view())) <=
        4 * 0x1p-24);
  tempflow::guide_gradient(cpu_backend(1), c, {}, {}, {}, of_c, of_u);
  CHECK(support::same_bits(of_c, c));
  for (const double zero : support::values_of(of_u.view())) CHECK(zero == 0);
}

TEMPLATE_TEST_CASE("results may take the place of what they are made of, or be left out", "[guidance]", float,
                   double, bfloat16) {
  using T = TestType;
  const index_t rows = 2, columns = 3 * 47;
  const cpu_backend cpu(1);
  const auto c = random_batch<T>(rows, columns, 1), u = random_batch<T>(rows, columns, 2),
             g = random_batch<T>(rows, columns, 3);
  for (const index_t channels : {0, 47}) {
    const guidance_options options{.scale = 2.5, .channels = channels};
    batch_buffer<T> v(rows, columns), of_c(rows, columns), of_u(rows, columns);
    tempflow::guide(cpu, c, u, options, v);
    tempflow::guide_gradient(cpu, g, c, u, options, of_c, of_u);
    auto over_c = c, over_u = u;
    tempflow::guide(cpu, over_c, u, options, over_c);
    tempflow::guide(cpu, c, over_u, options, over_u);
    CHECK(support::same_bits(over_c, v));
    CHECK(support::same_bits(over_u, v));
    for (int order = 0; order < 2; ++order) {
      auto over_g = g, other = u;
      over_c = c;
      tempflow::guide_gradient(cpu, over_g, over_c, u, options, order == 0 ? over_g : over_c,
                               order == 0 ? over_c : over_g);
      CHECK(support::same_bits(order == 0 ? over_g : over_c, of_c));
      CHECK(support::same_bits(order == 0 ? over_c : over_g, of_u));
      tempflow::guide_gradient(cpu, g, c, u, options, other, {});
      CHECK(support::same_bits(other, of_c));
      tempflow::guide_gradient(cpu, g, c, u, options, batch_view<T>(), other);
      CHECK(support::same_bits(other, of_u));
    }
  }
}

TEST_CASE("results in another storage type are those of fp32, rounded", "[guidance]") {
  const index_t rows = 2, columns = 5 * 48;
  const cpu_backend cpu(1);
  const auto check = [&]<class T, class G>(T, G) {
    const auto c = random_batch<T>(rows, columns, 1), u = random_batch<T>(rows, columns, 2),
               g = random_batch<T>(rows, columns, 3);
    for (const index_t channels : {0, 48}) {
      const guidance_options options{.scale = 2.5, .channels = channels};
      batch_buffer<float> fine(rows, columns), fine_c(rows, columns), fine_u(rows, columns);
      batch_buffer<G> v(rows, columns), of_c(rows, columns), of_u(rows, columns);
      tempflow::guide(cpu, c, u, options, fine);
      tempflow::guide(cpu, c, u, options, v);
      tempflow::guide_gradient(cpu, g, c, u, options, fine_c, fine_u);
      tempflow::guide_gradient(cpu, g, c, u, options, of_c, of_u);
      for (auto [rounded, exact] :
           {std::pair(&v, &fine), std::pair(&of_c, &fine_c), std::pair(&of_u, &fine_u)}) {
        CHECK(support::same_bits(*rounded,
                                 support::batch_of<G>(rows, columns, support::values_of(exact->view()))));
      }
    }
  };
  check(float{}, bfloat16{});
  check(bfloat16{}, bfloat16{});
  check(float16{}, bfloat16{});
  check(float{}, float16{});
}

TEST_CASE("bad input of guidance is an error that names it, and nothing is written",
          "[guidance][bad_input]") {
  const index_t rows = 3, columns = 12;
  const cpu_backend cpu(1);
  auto c = random_batch<float>(rows, columns, 1), u = random_batch<float>(rows, columns, 2),
       v = random_batch<float>(rows, columns, 3), w = random_batch<float>(rows, columns, 4);
  auto narrow = random_batch<float>(rows, columns - 4, 5), few = random_batch<float>(rows - 1, columns, 6);
  const unchanged c_stays(c), u_stays(u), v_stays(v), w_stays(w);
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const auto guide = [&](const auto& of_c, const auto& of_u, const guidance_options& options, auto& to) {
    return [&, options] { tempflow::guide(cpu, of_c, of_u, options, to); };
  };
  check_throws<shape_error>(guide(c, narrow, {}, v), {"guide: unconditional is 3 x 8", "expected 3 x 12"});
  check_throws<shape_error>(guide(few, u, {}, v), {"guide: unconditional is 3 x 12", "expected 2 x 12"});
  check_throws<shape_error>(guide(c, u, {}, narrow), {"guide: guided is 3 x 8", "expected 3 x 12"});
  check_throws<shape_error>(guide(c, u, {.channels = 5}, v), {"guide: 12 elements per row", "5 channels"});
  check_throws<value_error>(guide(c, u, {.channels = -4}, v), {"guide: channels = -4"});
  const std::vector<double> two{1.0, 2.0}, broken{1.0, nan, 2.0};
  check_throws<shape_error>(guide(c, u, {.scale = two}, v), {"guide: scale has 2 entries, expected 3"});
  check_throws<value_error>(guide(c, u, {.scale = broken}, v), {"guide: scale[1] = nan"});
  check_throws<value_error>(guide(c, u, {.scale = inf}, v), {"guide: scale[0] = inf"});
  check_throws<value_error>(guide(c, u, {.scale = 1e39}, v), {"guide: scale[0] = 1e+39", "fp32"});
  batch_view<float> shifted(c.view().data() + 1, rows - 1, columns);
  const batch_view<float> top(c.view().data(), rows - 1, columns), of_u(u.view().data(), rows - 1, columns);
  check_throws<shape_error>(guide(top, of_u, {}, shifted), {"guide: guided shares memory with conditional"});
  check_throws<shape_error>(guide(of_u, top, {}, shifted),
                            {"guide: guided shares memory with unconditional"});

  const auto gradient = [&](const auto& of_g, const auto& of_c, const auto& u_of,
                            const guidance_options& options, auto to_c, auto to_u) {
    return [&, options, to_c, to_u] { tempflow::guide_gradient(cpu, of_g, of_c, u_of, options, to_c, to_u); };
  };
  const batch_view<const float> none;
  const auto vs = v.view(), ws = w.view();
  const guidance_options norms{.channels = 4};
  check_throws<shape_error>(gradient(u, none, c, norms, vs, ws), {"guide_gradient: conditional is 0 x 0"});
  check_throws<shape_error>(gradient(u, c, none, norms, vs, ws), {"guide_gradient: unconditional is 0 x 0"});
  check_throws<shape_error>(gradient(u, c, narrow, {}, vs, ws), {"guide_gradient: unconditional is 3 x 8"});
  check_throws<shape_error>(gradient(u, c, c, norms, few.view(), ws),
                            {"guide_gradient: of_conditional is 2 x 12"});
  check_throws<shape_error>(gradient(u, c, c, norms, vs, few.view()),
                            {"guide_gradient: of_unconditional is 2 x 12"});
  check_throws<shape_error>(gradient(u, c, c, norms, vs, vs),
                            {"of_conditional and of_unconditional share memory"});
  check_throws<shape_error>(gradient(top, of_u, of_u, norms, shifted, vs.slice(0, 2)),
                            {"guide_gradient: of_conditional shares memory with gradient"});
  check_throws<shape_error>(gradient(u, c, c, {.channels = 7}, vs, ws),
                            {"guide_gradient: 12 elements per row"});
  check_throws<value_error>(gradient(u, c, c, {.scale = nan, .channels = 4}, vs, ws),
                            {"guide_gradient: scale[0] = nan"});
  CHECK((c_stays && u_stays && v_stays && w_stays));
}

TEST_CASE("batches without rows or elements are guided", "[guidance]") {
  for (const auto& [rows, columns] : {std::pair<index_t, index_t>{0, 8}, {3, 0}, {0, 0}}) {
    batch_buffer<float> c(rows, columns), u(rows, columns), v(rows, columns), w(rows, columns);
    for (const index_t channels : {0, 4}) {
      const guidance_options options{.scale = 2.0, .channels = channels};
      CHECK_NOTHROW(tempflow::guide(cpu_backend(1), c, u, options, v));
      CHECK_NOTHROW(tempflow::guide_gradient(cpu_backend(1), c, u, u, options, v, w));
      CHECK_NOTHROW(tempflow::guide(reference_backend{}, c, u, options, v));
    }
  }
}
