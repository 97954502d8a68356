// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// A torch network as the flow model of rollouts, and the same forward pass, with gradients, for training.
//
//   const auto network = [&](const auto& x, const auto& t, const auto& text, const auto& pooled) -> at::Tensor {
//     return transformer->forward(x, t, text, pooled);
//   };                                          // or module_network(torch::jit::load("transformer.pt"))
//   auto model = tf::torch_model<float>(network, tf::torch_conditioning<2>{{text, pooled}},
//                                       {.shape = {16, 64, 64}, .timestep_scale = 1000});
//   auto rollout = tf::roll_out(backend, model, prompts, chain, plan, key);
//   for (const auto& batch : tf::minibatches(rollout, advantages, weights))
//     tf::policy_loss(backend, batch, model.forward(batch), {}, tf::clipped_grpo{}).loss.backward();
//
// Training that calls forward() computes what the rollout computed, so the ratio starts at exactly 1 where the network's
// rows do not depend on their batch; elsewhere rescore() first.

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "tempflow/core/numeric.hpp"
#include "tempflow/interop/detail/torch_autocast.hpp"
#include "tempflow/interop/torch.hpp"
#include "tempflow/interop/torch_conditioning.hpp"
#include "tempflow/rollout/minibatches.hpp"
#include "tempflow/rollout/velocity_model.hpp"

namespace tempflow {

/// How a network's predictions become the velocity. w is the guidance scale, c the prediction for a prompt, n that for
/// its negative prompt: both come from one call with a doubled batch, negative prompts first.
enum class guidance_rule {
  none,             ///< c
  linear,           ///< n + w (c - n). Ho and Salimans, arXiv 2207.12598; SD3
  norm_preserving,  ///< the same, scaled to the norm that c has along the last dimension. Qwen-Image in diffusers
  embedded          ///< c, of a network that takes w, one a sample, as its last input. FLUX.1-dev
};

/// What a network expects, besides its conditioning. States are in the host's memory.
struct torch_model_options {
  std::vector<std::int64_t> shape;  ///< of a sample: (C, H, W); (tokens, channels) where latents are packed
  double timestep_scale = 1;        ///< t = sigma times this: 1000 for SD3; 1 for FLUX, Qwen-Image
  guidance_rule guidance = guidance_rule::none;
  double guidance_scale = 1;                       ///< w
  std::optional<at::ScalarType> autocast = {};     ///< dtype of an autocast region around each call
  std::optional<at::ScalarType> input_dtype = {};  ///< of the network's x; none: that of the states
  at::Device device = at::Device(at::kCPU);        ///< where the network computes
};

/// A batch of states as a network takes it, on its device.
struct torch_inputs {
  at::Tensor x;        ///< (S, shape...)
  at::Tensor t;        ///< (S), in fp64 for fp64 states and in fp32 for all others
  at::Tensor prompts;  ///< (S), int64: rows of the conditioning
};

/// A velocity_model made of a network; see torch_model.
template <storage_scalar T, computes_with<T> V, class Network, std::size_t N>
class torch_velocity_model {
 public:
  using value_type = T;
  using velocity_type = V;

  /// Throws as torch_model.
  torch_velocity_model(Network network, torch_conditioning<N> conditioning, torch_model_options options)
      : network_(std::move(network)),
        options_(std::move(options)),
        conditioning_(std::move(conditioning), doubled(), options_.device),
        dimension_(detail::product_of(options_.shape, detail::max_elements(sizeof(T)))) {
    using detail::message;
    const auto& chosen = options_;
    if (dimension_ < 1) {
      throw shape_error(message("torch_model: samples of shape ", detail::tuple_text(chosen.shape)));
    }
    if (!is_finite(chosen.timestep_scale) || !is_finite(chosen.guidance_scale)) {
      throw value_error(message("torch_model: timestep_scale = ", chosen.timestep_scale,
                                ", guidance_scale = ", chosen.guidance_scale));
    }
    if (chosen.autocast && *chosen.autocast != at::kBFloat16 && *chosen.autocast != at::kHalf) {
      throw value_error(message("torch_model: autocast to ", c10::toString(*chosen.autocast),
                                ", expected BFloat16 or Half"));
    }
    const bool embedded = chosen.guidance == guidance_rule::embedded;
    if (!(embedded ? takes_guidance : takes_no_guidance)) {
      throw value_error(message("torch_model: the network takes ", N, " tensors of conditioning and ",
                                embedded ? "no guidance scale" : "a guidance scale",
                                ", which does not fit the guidance rule"));
    }
  }

  index_t dimension() const { return dimension_; }
  const torch_model_options& options() const { return options_; }

  /// States (S x D) and what belongs to them, as the network takes them. x is the same memory where nothing asks for
  /// another dtype or device, and keeps `owner`. Throws shape_error for lengths that differ, value_error for a prompt
  /// without conditioning.
  template <class Owner>
  torch_inputs inputs(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> prompts,
                      Owner owner) const {
    if (std::ssize(sigma) != x.rows() || std::ssize(prompts) != x.rows()) {
      throw shape_error(detail::message("torch_model: ", x.rows(), " states, ", sigma.size(), " sigmas, ",
                                        prompts.size(), " prompts"));
    }
    std::vector<double> times;
    std::vector<std::int64_t> rows;
    for (const double level : sigma) times.push_back(level * options_.timestep_scale);
    for (const index_t id : prompts) rows.push_back(conditioning_.row_of(id));
    return {tensor_of(x, options_.shape, std::move(owner))
                .to(options_.device, options_.input_dtype.value_or(detail::torch_dtype<T>())),
            at::tensor(times, at::TensorOptions(at::kDouble))
                .to(options_.device, std::same_as<T, double> ? at::kDouble : at::kFloat),
            at::tensor(rows, at::TensorOptions(at::kLong)).to(options_.device)};
  }

  /// Those of a minibatch. As long as x, or a graph made of it, lives, the batch's memory is not used again.
  torch_inputs inputs(const minibatch<T>& batch) const {
    return inputs(batch.x, batch.sigma, batch.prompts, batch.storage);
  }

  /// Velocities (S, shape...) in V's dtype, guided, and in autograd's graph where gradients are recorded. Guidance is
  /// computed in fp32, or fp64. Throws shape_error, value_error or memory_error, which say what came and what was
  /// expected, for a network's output of another shape, dtype or device; its exceptions pass through.
  at::Tensor forward(const torch_inputs& inputs) {
    const auto as_called = [&](const at::Tensor& once) { return doubled() ? at::cat({once, once}) : once; };
    at::Tensor v =
        call(as_called(inputs.x), as_called(inputs.t), inputs.prompts, std::make_index_sequence<N>());
    if (doubled()) {
      v = v.to(std::same_as<V, double> ? at::kDouble : at::kFloat);
      const std::int64_t rows = inputs.x.size(0);
      const at::Tensor n = v.slice(0, 0, rows), c = v.slice(0, rows);
      v = n + (c - n) * options_.guidance_scale;
      const auto norms = [](const at::Tensor& of) { return of.norm(2, {-1}, true); };
      if (options_.guidance == guidance_rule::norm_preserving) v = v * (norms(c) / norms(v));
    }
    return v.to(detail::torch_dtype<V>());
  }

  /// For training: v at a batch's states, with gradients.
  at::Tensor forward(const minibatch<T>& batch) { return forward(inputs(batch)); }

  /// As of any velocity_model, without recording gradients. The network's x may be the rollout's own memory: it must
  /// neither be written to nor kept.
  void velocity(batch_view<const T> x, std::span<const double> sigma, std::span<const index_t> prompts,
                batch_view<V> v) {
    const at::NoGradGuard no_grad;
    const torch_inputs batch = inputs(x, sigma, prompts, 0);
    if (x.rows() > 0) tensor_of(v, options_.shape, 0).copy_(forward(batch));
  }

 private:
  bool doubled() const {
    return options_.guidance == guidance_rule::linear || options_.guidance == guidance_rule::norm_preserving;
  }

  template <std::size_t... I>
  static constexpr bool callable(std::index_sequence<I...>) {
    return std::is_invocable_r_v<at::Tensor, Network&,
                                 decltype((void(I), std::declval<const at::Tensor&>()))...>;
  }
  static constexpr bool takes_no_guidance = callable(std::make_index_sequence<2 + N>());
  static constexpr bool takes_guidance = callable(std::make_index_sequence<3 + N>());
  static_assert(
      takes_no_guidance || takes_guidance,
      "tempflow: the network must be callable as at::Tensor(x, t, conditioning...), with N tensors of "
      "conditioning, and one more for embedded guidance");

  template <std::size_t... I>
  at::Tensor call(const at::Tensor& x, const at::Tensor& t, const at::Tensor& prompts,
                  std::index_sequence<I...>) {
    const std::array<at::Tensor, N> told{conditioning_.gather(I, prompts)...};
    std::optional<detail::autocast_region> region;
    if (options_.autocast) region.emplace(options_.device.type(), *options_.autocast);
    at::Tensor v;
    if constexpr (takes_guidance) {
      if (options_.guidance == guidance_rule::embedded) {
        v = network_(x, t, told[I]..., at::full({x.size(0)}, options_.guidance_scale, t.options()));
      }
    }
    if constexpr (takes_no_guidance) {
      if (options_.guidance != guidance_rule::embedded) v = network_(x, t, told[I]...);
    }
    check_output(v, x.size(0));
    return v;
  }

  void check_output(const at::Tensor& v, std::int64_t rows) const {
    const auto text = [&](const auto&... expected) {
      return detail::message("torch_model: the network returned ", detail::torch_text(v), ", expected ",
                             expected...);
    };
    if (!v.defined() || v.layout() != at::kStrided) throw memory_error(text("a strided tensor"));
    std::vector<std::int64_t> shape{rows};
    shape.insert(shape.end(), options_.shape.begin(), options_.shape.end());
    if (v.sizes() != at::IntArrayRef(shape)) throw shape_error(text("shape ", detail::tuple_text(shape)));
    constexpr at::ScalarType own = detail::torch_dtype<V>();
    const at::ScalarType dtype = v.scalar_type();
    const bool widened = own == at::kFloat && (dtype == at::kBFloat16 || dtype == at::kHalf);
    if (dtype != own && !widened) throw value_error(text(c10::toString(own)));
    if (!detail::lies_on(v, options_.device)) throw memory_error(text("it on ", options_.device.str()));
  }

  Network network_;
  torch_model_options options_;
  detail::checked_conditioning<N> conditioning_;
  index_t dimension_;
};

/// Makes a velocity_model of a network, a callable `at::Tensor(x, t, conditioning...)` that takes x (S, shape...), t (S)
/// and N tensors with a row per sample, and returns v (S, shape...), the velocity of noise - data, in V's dtype. (Where V
/// is float, bf16 and fp16 are widened.) With guidance_rule::embedded its last input is w (S), in t's dtype. A generic
/// lambda should name its result, `-> at::Tensor`: it is asked whether it takes w.
///
/// T: of the states; V: of the velocities, as torch_model<float, bfloat16> under autocast to bf16. The network is kept by
/// value; new prompts are a new model.
///
/// Throws shape_error, value_error or memory_error for options and conditioning that do not fit together.
template <storage_scalar T, computes_with<T> V = T, class Network, std::size_t N>
torch_velocity_model<T, V, Network, N> torch_model(Network network, torch_conditioning<N> conditioning,
                                                   torch_model_options options) {
  return {std::move(network), std::move(conditioning), std::move(options)};
}

/// The network that a torch::jit::Module is, or whatever has its forward(std::vector<at::IValue>). It may return a
/// tensor, or a tuple that begins with one; for anything else the network throws value_error.
template <class Module>
auto module_network(Module module) {
  return [module = std::move(module)](const at::Tensor& x, const at::Tensor& t,
                                      const auto&... told) mutable -> at::Tensor {
    auto returned = module.forward({x, t, told...});
    if (returned.isTuple() && !returned.toTupleRef().elements().empty()) {
      auto first = returned.toTupleRef().elements()[0];
      returned = std::move(first);
    }
    if (!returned.isTensor()) {
      throw value_error(detail::message("module_network: the module returned ", returned.tagKind(),
                                        ", expected a Tensor, or a tuple that begins with one"));
    }
    return returned.toTensor();
  };
}

}  // namespace tempflow
