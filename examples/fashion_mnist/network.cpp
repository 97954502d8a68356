// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#include "network.hpp"

#include <array>
#include <numeric>
#include <tempflow/interop/eigen.hpp>

namespace fashion {
namespace {

void write_conditions(float sigma, int label, float* out) {
  for (int k = 0; k < frequencies; ++k) {
    const float angle = sigma_angle(sigma, k);
    out[k] = std::sin(angle);
    out[frequencies + k] = std::cos(angle);
  }
  std::fill_n(out + 2 * frequencies, classes, 0.0f);
  out[2 * frequencies + label] = 1.0f;
}

/// Each row to mean 0 and variance 1.
void normalise(const matrix& x, matrix& y, Eigen::ArrayXf& inverse_std) {
  y.resize(x.rows(), x.cols());
  inverse_std.resize(x.rows());
  for (Eigen::Index i = 0; i < x.rows(); ++i) {
    y.row(i) = x.row(i).array() - x.row(i).mean();
    inverse_std(i) = 1.0f / std::sqrt(y.row(i).squaredNorm() / static_cast<float>(x.cols()) + norm_epsilon);
    y.row(i) *= inverse_std(i);
  }
}

/// Adds to dx the gradient with respect to normalise()'s input. y is its output, dy the gradient with respect
/// to it.
void add_normalise_gradient(const matrix& y, const Eigen::ArrayXf& inverse_std, const matrix& dy,
                            matrix& dx) {
  for (Eigen::Index i = 0; i < y.rows(); ++i) {
    const float mean = dy.row(i).mean();
    const float along = dy.row(i).dot(y.row(i)) / static_cast<float>(y.cols());
    dx.row(i).array() += inverse_std(i) * (dy.row(i).array() - mean - y.row(i).array() * along);
  }
}

/// Calls body(tile, first row, rows) for each tile.
template <class Body>
void for_each_tile(const tempflow::cpu_backend& cpu, Eigen::Index rows, const Body& body) {
  cpu.for_each_index(tiles_of(rows), [&](tempflow::index_t t) {
    const auto begin = t * tile_rows;
    body(static_cast<std::size_t>(t), begin, std::min<Eigen::Index>(tile_rows, rows - begin));
  });
}

template <class T>
std::span<T> rows_of(std::span<T> values, Eigen::Index begin, Eigen::Index count) {
  return values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
}

/// A tile's worth of values; rows beyond the given ones get `filler`.
template <class T>
std::array<T, tile_rows> padded(std::span<const T> values, T filler) {
  std::array<T, tile_rows> out;
  std::fill(std::copy(values.begin(), values.end(), out.begin()), out.end(), filler);
  return out;
}

float divisor(double sigma) { return preconditioning(static_cast<float>(sigma)).divisor; }

}  // namespace

velocity_network::velocity_network(network_shape shape) : shape_{shape}, layers_{shape.layers()} {}

vector velocity_network::initial_weights(std::uint64_t seed) const {
  vector weights(parameters());
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const bool in_block = l >= 2 && l + 1 < layers_.size();
    // Film and down layers and the output start at zero: blocks are the identity, the network the linear guess.
    const bool zero = l + 1 == layers_.size() || (in_block && (l - 2) % 3 != 1);
    initialise(layers_[l], weights, zero ? 0.0f : 1.0f,
               {seed, support::purpose::weights, static_cast<std::uint32_t>(l)});
  }
  return weights;
}

void velocity_network::run_tile(const vector& weights, const matrix& x, sigmas sigma, labels label,
                                tape& t) const {
  t.linears.resize(layers_.size());
  t.blocks.resize(static_cast<std::size_t>(shape_.blocks));
  auto &condition = t.linears[0].input, &input = t.linears[1].input;
  condition.resize(tile_rows, conditions);
  input.resize(tile_rows, shape_.latents);
  matrix guess(tile_rows, shape_.latents);
  t.spread.resize(tile_rows);
  for (Eigen::Index i = 0; i < tile_rows; ++i) {
    const auto row = static_cast<std::size_t>(i);
    const auto s = static_cast<float>(sigma[row]);
    const preconditioning given(s);
    input.row(i) = x.row(i) * given.scale;
    guess.row(i) = input.row(i) * given.guess;
    t.spread(i) = given.spread;
    write_conditions(s, static_cast<int>(label[row]), condition.row(i).data());
  }

  matrix embedded, h, change;
  apply(layers_[0], weights, condition, embedded);
  silu(embedded, t.embedding_slope);
  apply(layers_[1], weights, input, h);
  const auto width = static_cast<Eigen::Index>(shape_.width);
  for (std::size_t b = 0; b < t.blocks.size(); ++b) {
    auto& block = t.blocks[b];
    auto &film = t.linears[2 + 3 * b], &up = t.linears[3 + 3 * b], &down = t.linears[4 + 3 * b];
    film.input = embedded;
    apply(layers_[2 + 3 * b], weights, embedded, block.film);
    normalise(h, block.normalised, block.inverse_std);
    up.input = block.normalised.array() * (1.0f + block.film.leftCols(width).array()) +
               block.film.rightCols(width).array();
    apply(layers_[3 + 3 * b], weights, up.input, down.input);
    silu(down.input, block.silu_slope);
    apply(layers_[4 + 3 * b], weights, down.input, change);
    h += change;
  }
  normalise(h, t.normalised, t.inverse_std);
  t.linears.back().input = t.normalised;
  apply(layers_.back(), weights, t.normalised, t.clean);
  t.clean = guess.array() + t.clean.array().colwise() * t.spread;
}

void velocity_network::backward_tile(const vector& weights, const matrix& output_gradient, tape& t) const {
  t.linears.back().output_gradient = output_gradient.array().colwise() * t.spread;
  matrix d, dh = matrix::Zero(tile_rows, shape_.width);
  matrix embedded_gradient = matrix::Zero(tile_rows, embedding);
  apply_transposed(layers_.back(), weights, t.linears.back().output_gradient, d);
  add_normalise_gradient(t.normalised, t.inverse_std, d, dh);
  const auto width = static_cast<Eigen::Index>(shape_.width);
  for (std::size_t b = t.blocks.size(); b-- > 0;) {
    const auto& block = t.blocks[b];
    auto &film = t.linears[2 + 3 * b], &up = t.linears[3 + 3 * b], &down = t.linears[4 + 3 * b];
    down.output_gradient = dh;
    apply_transposed(layers_[4 + 3 * b], weights, dh, up.output_gradient);
    up.output_gradient.array() *= block.silu_slope.array();
    apply_transposed(layers_[3 + 3 * b], weights, up.output_gradient, d);
    film.output_gradient.resize(tile_rows, 2 * width);
    film.output_gradient.leftCols(width) = d.array() * block.normalised.array();
    film.output_gradient.rightCols(width) = d;
    d.array() *= 1.0f + block.film.leftCols(width).array();
    add_normalise_gradient(block.normalised, block.inverse_std, d, dh);
    apply_transposed(layers_[2 + 3 * b], weights, film.output_gradient, d);
    embedded_gradient += d;
  }
  t.linears[1].output_gradient = dh;
  t.linears[0].output_gradient = embedded_gradient.array() * t.embedding_slope.array();
}

void velocity_network::velocity_tile(const vector& weights, states x, sigmas sigma, labels label,
                                     tempflow::batch_view<float> v, tape& t) const {
  const auto sigma_rows = padded<double>(sigma, 1.0);
  const auto label_rows = padded<tempflow::index_t>(label, 0);
  const auto from = tempflow::eigen_map(x);
  auto to = tempflow::eigen_map(v);
  matrix tile = matrix::Zero(tile_rows, shape_.latents);
  tile.topRows(x.rows()) = from;
  run_tile(weights, tile, sigma_rows, label_rows, t);
  for (Eigen::Index i = 0; i < x.rows(); ++i)
    to.row(i) = (from.row(i) - t.clean.row(i)) / divisor(sigma[static_cast<std::size_t>(i)]);
}

void velocity_network::velocity(const tempflow::cpu_backend& cpu, const vector& weights, states x,
                                sigmas sigma, labels label, tempflow::batch_view<float> v) const {
  for_each_tile(cpu, x.rows(), [&](std::size_t, Eigen::Index begin, Eigen::Index rows) {
    thread_local tape scratch;
    velocity_tile(weights, x.slice(begin, rows), rows_of(sigma, begin, rows), rows_of(label, begin, rows),
                  v.slice(begin, rows), scratch);
  });
}

void velocity_network::forward(const tempflow::cpu_backend& cpu, const vector& weights, states x,
                               sigmas sigma, labels label, tempflow::batch_view<float> v,
                               tapes& memory) const {
  memory.resize(static_cast<std::size_t>(tiles_of(x.rows())));
  for_each_tile(cpu, x.rows(), [&](std::size_t tile, Eigen::Index begin, Eigen::Index rows) {
    velocity_tile(weights, x.slice(begin, rows), rows_of(sigma, begin, rows), rows_of(label, begin, rows),
                  v.slice(begin, rows), memory[tile]);
  });
}

void velocity_network::backward(const tempflow::cpu_backend& cpu, const vector& weights, sigmas sigma,
                                states v_gradient, tapes& memory, vector& gradient) const {
  const auto dv = tempflow::eigen_map(v_gradient);
  for_each_tile(cpu, v_gradient.rows(), [&](std::size_t tile, Eigen::Index begin, Eigen::Index rows) {
    matrix clean_gradient = matrix::Zero(tile_rows, shape_.latents);
    for (Eigen::Index i = 0; i < rows; ++i)
      clean_gradient.row(i) = dv.row(begin + i) / -divisor(sigma[static_cast<std::size_t>(begin + i)]);
    backward_tile(weights, clean_gradient, memory[tile]);
  });
  add_weight_gradients(cpu, layers_, memory, gradient);
}

double velocity_network::flow_matching_loss(const tempflow::cpu_backend& cpu, const vector& weights,
                                            const matrix& clean, const matrix& noise, sigmas sigma,
                                            labels label, tapes& memory, vector& gradient) const {
  const auto count = static_cast<float>(clean.size());
  memory.resize(static_cast<std::size_t>(tiles_of(clean.rows())));
  std::vector<double> losses(memory.size());
  for_each_tile(cpu, clean.rows(), [&](std::size_t tile, Eigen::Index begin, Eigen::Index) {
    const auto x0 = clean.middleRows(begin, tile_rows), n = noise.middleRows(begin, tile_rows);
    const auto s = rows_of(sigma, begin, tile_rows);
    matrix noisy(tile_rows, clean.cols()), d(tile_rows, clean.cols());
    for (Eigen::Index i = 0; i < tile_rows; ++i) {
      const auto level = static_cast<float>(s[static_cast<std::size_t>(i)]);
      noisy.row(i) = (1 - level) * x0.row(i) + level * n.row(i);
    }
    auto& t = memory[tile];
    run_tile(weights, noisy, s, rows_of(label, begin, tile_rows), t);
    double loss = 0;
    for (Eigen::Index i = 0; i < tile_rows; ++i) {
      // The error of v is the error of x0 over sigma.
      const float inverse = 1.0f / divisor(s[static_cast<std::size_t>(i)]);
      d.row(i) = (t.clean.row(i) - x0.row(i)) * inverse;
      loss += static_cast<double>(d.row(i).squaredNorm());
      d.row(i) *= 2 * inverse / count;
    }
    losses[tile] = loss / static_cast<double>(count);
    backward_tile(weights, d, t);
  });
  add_weight_gradients(cpu, layers_, memory, gradient);
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace fashion
