// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <tempflow/device/device_backend.hpp>
#include <vector>

#include "gemm.hpp"
#include "grown.hpp"
#include "kernels.hpp"
#include "network_shape.hpp"

namespace fashion {

/// fashion_mnist's velocity_network on a device: the same function of the same flat weights.
///
/// Batches, weights and gradients lie in the device's memory, noise levels and classes in the host's. Nothing
/// waits. Refers to its arguments.
template <class Device, gemm Gemm>
class device_network {
 public:
  using backend_type = tempflow::device_backend<Device>;
  using sigmas = std::span<const double>;
  using labels = std::span<const tempflow::index_t>;

  device_network(const backend_type& backend, const Gemm& multiply, network_shape shape)
      : backend_{backend}, multiply_{multiply}, shape_{shape}, layers_{shape.layers()} {}

  tempflow::index_t dimension() const { return shape_.latents; }
  tempflow::index_t parameters() const { return parameters_of(layers_); }

  /// What the network computes of a batch, and the gradient needs.
  struct tape {
    struct block {
      layer_input<Device> up, down;
      grown_matrix<Device> normalised, film, silu_slope, inverse_std;
    };
    tempflow::index_t batch = 0;
    std::vector<block> blocks;
    layer_input<Device> condition, input, embedded, last;
    grown_matrix<Device> rows, embedding_slope, inverse_std, stream, output;
    grown_matrix<Device> output_gradient, stream_gradient, gradient, film_gradient, embedded_gradient;
  };

  /// v for each row of x, at its own noise level and class.
  void forward(const_states weights, const_states x, sigmas sigma, labels label, states v, tape& t) const {
    begin(x.rows(), sigma, label, t);
    const auto rows = t.rows.rows(backend_, t.batch, 2);
    const auto stream = matrix(t.stream, t, shape_.width), output = matrix(t.output, t, shape_.latents);
    each(t, conditions, write_condition{rows, t.condition.values()});
    each(t, shape_.latents, scale_state{rows, x, t.input.values()});
    apply(layers_[0], weights, t.condition, 0, t.embedded.values());
    each(t, embedding, apply_silu{t.embedded.values(), matrix(t.embedding_slope, t, embedding)});
    apply(layers_[1], weights, t.input, 0, stream);
    for (std::size_t b = 0; b < t.blocks.size(); ++b) {
      auto& block = t.blocks[b];
      const auto normalised = matrix(block.normalised, t, shape_.width),
                 film = matrix(block.film, t, 2 * shape_.width);
      apply(film_layer(b), weights, t.embedded, 0, film);
      each_row_of(t, normalise_row{stream, normalised, matrix(block.inverse_std, t, 1)});
      each(t, shape_.width, modulate{normalised, film, block.up.values()});
      apply(up_layer(b), weights, block.up, 0, block.down.values());
      each(t, shape_.width, apply_silu{block.down.values(), matrix(block.silu_slope, t, shape_.width)});
      apply(down_layer(b), weights, block.down, 1, stream);
    }
    each_row_of(t, normalise_row{stream, t.last.values(), matrix(t.inverse_std, t, 1)});
    apply(layers_.back(), weights, t.last, 0, output);
    each(t, shape_.latents, write_velocity{rows, x, output, v});
  }

  /// Adds to `gradient` a loss's gradient with respect to the weights, from its gradient with respect to v of
  /// the batch that the tape has seen.
  void backward(const_states weights, const_states v_gradient, tape& t, states gradient) const {
    const auto rows = t.rows.rows(backend_, t.batch, 2);
    const auto dv = matrix(t.output_gradient, t, shape_.latents),
               dh = matrix(t.stream_gradient, t, shape_.width), d = matrix(t.gradient, t, shape_.width),
               dfilm = matrix(t.film_gradient, t, 2 * shape_.width),
               dembedded = matrix(t.embedded_gradient, t, embedding);
    each(t, shape_.latents, write_output_gradient{rows, v_gradient, dv});
    add_gradient(layers_.back(), t.last, dv, gradient);
    apply_transposed(layers_.back(), weights, dv, 0, d);
    clear(dh);
    clear(dembedded);
    each_row_of(t, normalise_row_back{t.last.values(), matrix(t.inverse_std, t, 1), d, dh});
    for (std::size_t b = t.blocks.size(); b-- > 0;) {
      auto& block = t.blocks[b];
      const auto normalised = matrix(block.normalised, t, shape_.width);
      add_gradient(down_layer(b), block.down, dh, gradient);
      apply_transposed(down_layer(b), weights, dh, 0, d);
      each(t, shape_.width, multiply_by{matrix(block.silu_slope, t, shape_.width), d});
      add_gradient(up_layer(b), block.up, d, gradient);
      // Up's input is spent: its gradient goes where it was.
      const auto dup = block.up.values();
      apply_transposed(up_layer(b), weights, d, 0, dup);
      each(t, shape_.width, modulate_back{normalised, matrix(block.film, t, 2 * shape_.width), dup, dfilm});
      each_row_of(t, normalise_row_back{normalised, matrix(block.inverse_std, t, 1), dup, dh});
      add_gradient(film_layer(b), t.embedded, dfilm, gradient);
      apply_transposed(film_layer(b), weights, dfilm, 1, dembedded);
    }
    add_gradient(layers_[1], t.input, dh, gradient);
    each(t, embedding, multiply_by{matrix(t.embedding_slope, t, embedding), dembedded});
    add_gradient(layers_[0], t.condition, dembedded, gradient);
  }

 private:
  const linear& film_layer(std::size_t block) const { return layers_[2 + 3 * block]; }
  const linear& up_layer(std::size_t block) const { return layers_[3 + 3 * block]; }
  const linear& down_layer(std::size_t block) const { return layers_[4 + 3 * block]; }

  /// W over b, (inputs + 1) x outputs.
  template <class T>
  static tempflow::batch_view<T> with_bias(const linear& layer, tempflow::batch_view<T> parameters) {
    return {parameters.data() + layer.offset, layer.inputs + 1, layer.outputs};
  }

  void apply(const linear& layer, const_states weights, const layer_input<Device>& x, float keep,
             states y) const {
    multiply_(x.with_ones(), with_bias(layer, weights), keep, y);
  }
  void apply_transposed(const linear& layer, const_states weights, const_states dy, float keep,
                        states dx) const {
    multiply_(dy, transposed(with_bias(layer, weights).slice(0, layer.inputs)), keep, dx);
  }
  void add_gradient(const linear& layer, const layer_input<Device>& x, const_states dy,
                    states gradient) const {
    multiply_(transposed(x.with_ones()), dy, 1, with_bias(layer, gradient));
  }

  template <class Body>
  void each(const tape& t, tempflow::index_t columns, const Body& body) const {
    backend_.for_each_index(t.batch * columns, each_element<Body>{columns, body});
  }
  template <class Row>
  void each_row_of(const tape& t, const Row& body) const {
    constexpr int warps = each_row<Row>::max_warps;
    backend_.device().launch(each_row<Row>{body}, {.blocks = (t.batch - 1) / warps + 1, .warps = warps});
  }
  void clear(states x) const {
    backend_.device().clear(x.data(), sizeof(float) * static_cast<std::size_t>(x.rows() * x.columns()));
  }

  states matrix(grown_matrix<Device>& from, const tape& t, tempflow::index_t columns) const {
    return from.rows(backend_, t.batch, columns);
  }

  void begin(tempflow::index_t batch, sigmas sigma, labels label, tape& t) const {
    t.batch = batch;
    t.blocks.resize(static_cast<std::size_t>(shape_.blocks));
    t.condition.resize(backend_, batch, conditions);
    t.input.resize(backend_, batch, shape_.latents);
    t.embedded.resize(backend_, batch, embedding);
    t.last.resize(backend_, batch, shape_.width);
    for (auto& block : t.blocks) {
      block.up.resize(backend_, batch, shape_.width);
      block.down.resize(backend_, batch, shape_.width);
    }
    const auto rows = t.rows.rows(backend_, batch, 2);
    for (tempflow::index_t first = 0; first < batch; first += upload_rows::most) {
      const tempflow::index_t count = std::min(upload_rows::most, batch - first);
      upload_rows part{.to = rows.slice(first, count), .sigma = {}, .label = {}};
      for (tempflow::index_t i = 0; i < count; ++i) {
        part.sigma[i] = static_cast<float>(sigma[static_cast<std::size_t>(first + i)]);
        part.label[i] = static_cast<float>(label[static_cast<std::size_t>(first + i)]);
      }
      backend_.for_each_index(count, part);
    }
  }

  const backend_type& backend_;
  const Gemm& multiply_;
  network_shape shape_;
  std::vector<linear> layers_;
};

}  // namespace fashion
