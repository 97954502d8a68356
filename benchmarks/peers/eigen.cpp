// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// Eigen: lazy array expressions row by row, so that nothing but the outputs is written.

#include <Eigen/Core>
#include <memory>
#include <random>

#include "../peer.hpp"

namespace bench {
namespace {

template <class T>
using compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T>
using array = Eigen::Array<T, Eigen::Dynamic, 1>;

/// The rows of one sample. Maps are values, so expressions of them may be returned.
template <class T>
struct sample {
  using real = compute<T>;
  using map = Eigen::Map<const array<T>>;

  map x, v, y, v_ref;
  real alpha, beta;

  sample(const task& t, const buffers& b, index i)
      : x(row<T>(b.x, t, i), t.columns),
        v(row<T>(b.v, t, i), t.columns),
        y(row<T>(b.y, t, i), t.columns),
        v_ref(row<T>(b.v_ref, t, i), t.columns),
        alpha(static_cast<real>(t.step.alpha)),
        beta(static_cast<real>(t.step.beta)) {}

  auto residual() const {
    return y.template cast<real>() - alpha * x.template cast<real>() - beta * v.template cast<real>();
  }
  auto difference() const { return v.template cast<real>() - v_ref.template cast<real>(); }
};

template <class T>
operation log_prob(const task& t) {
  return [&t](const buffers& b, results& r) {
    t.for_each_row(t.rows, [&](index i) {
      r.log_probs[static_cast<std::size_t>(i)] =
          log_prob_of(t, double{sample<T>(t, b, i).residual().square().sum()});
    });
  };
}

template <class T>
operation policy_loss(const task& t) {
  return [&t, losses = std::vector<double>(static_cast<std::size_t>(t.rows))](const buffers& b,
                                                                              results& r) mutable {
    t.for_each_row(t.rows, [&](index i) {
      using real = compute<T>;
      const sample<T> s(t, b, i);
      const row_loss l =
          loss_of(t, i, double{s.residual().square().sum()}, double{s.difference().square().sum()});
      losses[static_cast<std::size_t>(i)] = l.loss;
      Eigen::Map<array<T>>(row<T>(b.out, t, i), t.columns) =
          (static_cast<real>(l.on_residual) * s.residual() +
           static_cast<real>(l.on_difference) * s.difference())
              .template cast<T>();
    });
    r.loss = 0;
    for (const double loss : losses) r.loss += loss;
  };
}

/// Box-Muller in Eigen's vectorised log, sin and cos, on the bits of mt19937.
class normals {
 public:
  static constexpr index block = 1024;

  explicit normals(std::uint32_t seed) : bits_(seed) {}

  const Eigen::Array<float, block, 1>& next() {
    constexpr auto half = block / 2;
    for (auto& word : words_) word = static_cast<std::int32_t>(bits_() >> 8);
    const auto uniform = (words_.cast<float>() + 0.5f) * 0x1p-24f;
    radius_ = (-2.0f * uniform.template head<half>().log()).sqrt();
    angle_ = 6.28318530717958647692f * uniform.template tail<half>();
    normals_.template head<half>() = radius_ * angle_.cos();
    normals_.template tail<half>() = radius_ * angle_.sin();
    return normals_;
  }

 private:
  std::mt19937 bits_;
  Eigen::Array<std::int32_t, block, 1> words_;
  Eigen::Array<float, block / 2, 1> radius_, angle_;
  Eigen::Array<float, block, 1> normals_;
};

template <class T>
operation step(const task& t) {
  // A generator a row, so that rows can be drawn at the same time.
  std::vector<std::shared_ptr<normals>> noise;
  for (index i = 0; i < t.rows; ++i)
    noise.push_back(std::make_shared<normals>(static_cast<std::uint32_t>(i)));
  return [&t, noise](const buffers& b, results& r) {
    t.for_each_row(t.rows, [&](index i) {
      using real = compute<T>;
      const sample<T> s(t, b, i);
      Eigen::Map<array<T>> y(row<T>(b.out, t, i), t.columns);
      double squared = 0;
      for (index first = 0; first < t.columns; first += normals::block) {
        const index n = std::min(normals::block, t.columns - first);
        const auto& z = noise[static_cast<std::size_t>(i)]->next();
        const auto mean = s.alpha * s.x.segment(first, n).template cast<real>() +
                          s.beta * s.v.segment(first, n).template cast<real>();
        y.segment(first, n) =
            (mean + static_cast<real>(t.step.std) * z.head(n).template cast<real>()).template cast<T>();
        squared += double{(y.segment(first, n).template cast<real>() - mean).square().sum()};
      }
      r.log_probs[static_cast<std::size_t>(i)] = log_prob_of(t, squared);
    });
  };
}

/// Groups are neighbours of one size, so they are the columns of a matrix.
operation group_advantages(const task& t) {
  return [&t](const buffers& b, results&) {
    using matrix = Eigen::ArrayXXd;
    const index groups = t.elements() / t.group_size;
    const Eigen::Map<const matrix> rewards(static_cast<const double*>(b.x), t.group_size, groups);
    Eigen::Map<matrix> advantages(static_cast<double*>(b.out), t.group_size, groups);
    for (index g = 0; g < groups; ++g) {
      const auto centred = rewards.col(g) - rewards.col(g).mean();
      advantages.col(g) = centred / (std::sqrt(centred.square().mean()) + 1e-4);
    }
  };
}

std::string version() {
  return std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

const registration added({"eigen",
                          version() +
                              ", -O3 -march=native, lazy arrays row by row; noise: Box-Muller on mt19937",
                          {{kernel::step, storage::f32, step<float>},
                           {kernel::step, storage::bf16, step<Eigen::bfloat16>},
                           {kernel::log_prob, storage::f32, log_prob<float>},
                           {kernel::log_prob, storage::bf16, log_prob<Eigen::bfloat16>},
                           {kernel::policy_loss, storage::f32, policy_loss<float>},
                           {kernel::policy_loss, storage::bf16, policy_loss<Eigen::bfloat16>},
                           {kernel::group_advantages, storage::f64, group_advantages}}});

}  // namespace
}  // namespace bench
