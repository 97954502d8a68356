// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

#include <ATen/ATen.h>
#include <torch/script.h>

#include <limits>
#include <tempflow/interop/torch_loss.hpp>
#include <tempflow/interop/torch_model.hpp>
#include <tempflow/interop/torch_threads.hpp>
#include <tempflow/tempflow.hpp>

#include "support/catch.hpp"

using namespace tempflow;

namespace {

using tensor = const at::Tensor&;

constexpr index_t rows = 5, tokens = 3, channels = 4;

/// States, noise levels and prompts of a call, and what the model makes of them.
struct call_of_model {
  at::Tensor x = at::randn({rows, tokens, channels});
  std::vector<double> sigma{1, 0.75, 0.5, 0.3, 0.1};
  std::vector<index_t> prompts{2, 0, 1, 1, 0};

  template <class Model>
  at::Tensor velocity(Model& model) const {
    using T = typename Model::value_type;
    using V = typename Model::velocity_type;
    const at::Tensor states = x.to(tempflow::detail::torch_dtype<T>());
    at::Tensor v =
        at::full({rows, tokens, channels}, 7, at::TensorOptions(tempflow::detail::torch_dtype<V>()));
    model.velocity(batch_view_of<const T>(states), sigma, prompts, batch_view_of<V>(v));
    return v;
  }

  at::Tensor times(double scale = 1) const {
    return (at::tensor(sigma, at::TensorOptions(at::kDouble)) * scale).to(at::kFloat);
  }
};

at::Tensor broadcast(tensor per_row) { return per_row.view({-1, 1, 1}); }

/// A network whose rows do not depend on their batch, to the bit: x text + sin(t) pooled, element by element.
at::Tensor elementwise(tensor x, tensor t, tensor text, tensor pooled) {
  return x * text + broadcast(t.sin()) * pooled.unsqueeze(1);
}

const at::Tensor text = at::randn({3, tokens, channels}), pooled = at::randn({3, channels}),
                 no_text = at::randn({1, tokens, channels}), no_pooled = at::randn({3, channels});
const torch_conditioning<2> conditioning{.of_prompts = {text, pooled}},
    with_negative{.of_prompts = {text, pooled}, .negative = {no_text, no_pooled}};

torch_model_options packed(guidance_rule rule = guidance_rule::none, double scale = 1) {
  return {.shape = {tokens, channels}, .guidance = rule, .guidance_scale = scale};
}

at::Tensor rows_of(tensor table, const std::vector<index_t>& at_rows) {
  std::vector<at::Tensor> found;
  for (const index_t row : at_rows) found.push_back(table[row]);
  return at::stack(found);
}

const auto empty_network = [](tensor x, tensor) { return x; };

}  // namespace

TEST_CASE("torch_model: the network gets states, scaled times and its prompts' conditioning", "[torch]") {
  const call_of_model call;
  auto options = packed();
  options.timestep_scale = 1000;
  auto model = torch_model<float>(elementwise, conditioning, options);
  CHECK(model.dimension() == tokens * channels);
  const at::Tensor expected =
      elementwise(call.x, call.times(1000), rows_of(text, call.prompts), rows_of(pooled, call.prompts));
  CHECK(at::equal(call.velocity(model), expected));

  auto named = conditioning;
  named.ids = {40, 7, 1'000'000};
  auto by_id = torch_model<float>(elementwise, named, options);
  call_of_model same = call;
  for (index_t& id : same.prompts) id = named.ids[static_cast<std::size_t>(id)];
  CHECK(at::equal(same.velocity(by_id), expected));

  bool asked = false;
  auto alone = torch_model<float>(
      [&](tensor x, tensor t) {
        asked = !at::GradMode::is_enabled() && at::equal(t, call.times());
        return x * 2;
      },
      torch_conditioning<0>{}, packed());
  CHECK(at::equal(call.velocity(alone), call.x * 2));
  CHECK(asked);
  CHECK(at::GradMode::is_enabled());
}

TEST_CASE("torch_model: guidance is the field's formulas", "[torch]") {
  const call_of_model call;
  const at::Tensor c =
      elementwise(call.x, call.times(), rows_of(text, call.prompts), rows_of(pooled, call.prompts));
  const at::Tensor n = elementwise(call.x, call.times(), no_text.expand({rows, tokens, channels}),
                                   rows_of(no_pooled, call.prompts));
  auto linear = torch_model<float>(elementwise, with_negative, packed(guidance_rule::linear, 4.5));
  CHECK(at::equal(call.velocity(linear), n + (c - n) * 4.5));

  auto preserving = torch_model<float>(elementwise, with_negative, packed(guidance_rule::norm_preserving, 4));
  const at::Tensor v = call.velocity(preserving), mixed = (n + (c - n) * 4).to(at::kDouble);
  const at::Tensor lengths = c.to(at::kDouble).square().sum(2, true).sqrt();
  CHECK(at::allclose(v.to(at::kDouble), mixed / mixed.square().sum(2, true).sqrt() * lengths, 1e-5, 1e-6));

  auto embedded = torch_model<float>(
      [](tensor x, tensor t, tensor one, tensor, tensor w) { return x + one * broadcast(w) + broadcast(t); },
      conditioning, packed(guidance_rule::embedded, 3.5));
  CHECK(at::equal(call.velocity(embedded),
                  call.x + rows_of(text, call.prompts) * 3.5 + broadcast(call.times())));
}

TEST_CASE("torch_model: autocast is around the call and nowhere else", "[torch]") {
  const call_of_model call;
  const at::Tensor weight = at::randn({channels, channels});
  const auto linear = [&](tensor x, tensor, tensor fail) {
    if (fail.sum().item<float>() != 0) throw std::runtime_error("the network's own");
    return at::linear(x, weight);
  };
  const auto off = [] { return !at::autocast::is_autocast_enabled(at::kCPU); };
  const at::Tensor bf16 = at::linear(call.x.to(at::kBFloat16), weight.to(at::kBFloat16));
  auto options = packed();
  options.autocast = at::kBFloat16;
  const torch_conditioning<1> works{{at::zeros({3})}}, fails{{at::ones({3})}};
  auto narrow = torch_model<float, bfloat16>(linear, works, options);
  CHECK(at::equal(call.velocity(narrow), bf16));
  auto wide = torch_model<float>(linear, works, options);
  CHECK(at::equal(call.velocity(wide), bf16.to(at::kFloat)));
  CHECK(off());
  auto failing = torch_model<float>(linear, fails, options);
  CHECK_THROWS_WITH(call.velocity(failing), "the network's own");
  CHECK(off());

  options = packed();
  options.input_dtype = at::kBFloat16;
  auto weights16 = torch_model<float, bfloat16>(
      [&](tensor x, tensor t) {
        CHECK(t.scalar_type() == at::kFloat);
        return at::linear(x, weight.to(at::kBFloat16));
      },
      torch_conditioning<0>{}, options);
  CHECK(at::equal(call.velocity(weights16), bf16));
  auto doubles = torch_model<double>(
      [](tensor x, tensor t) {
        CHECK(t.scalar_type() == at::kDouble);
        return x + broadcast(t);
      },
      torch_conditioning<0>{}, packed());
  CHECK(call.velocity(doubles).scalar_type() == at::kDouble);
}

TEST_CASE("torch_model: training is the rollout's forward pass, with gradients", "[torch]") {
  const auto backend = torch_backend();
  const at::Tensor weight = at::randn({channels}).requires_grad_();
  const auto network = [&](tensor x, tensor t, tensor one, tensor other) {
    return elementwise(x * weight, t, one, other);
  };
  auto options = packed(guidance_rule::linear, 2);
  options.timestep_scale = 1000;
  auto model = torch_model<float>(network, with_negative, options);
  const auto chain = make_chain(sd3_sigmas(4), flow_sde{.noise_level = 0.7});
  const index_t prompts[] = {0, 2};
  auto rollout = roll_out(backend, model, prompts, chain,
                          branch_plan{.seeds_per_prompt = 2, .explorations = 3}, {.seed = 1});
  std::vector<double> advantages;
  for (index_t i = 0; i < rollout.samples().rows(); ++i) advantages.push_back(static_cast<double>(i % 3 - 1));
  torch_inputs kept;
  at::Tensor kept_x;
  for (const auto& batch : minibatches(rollout, advantages, uniform_weights(chain), {.size = 5})) {
    const torch_inputs inputs = model.inputs(batch);
    REQUIRE(inputs.x.sizes() == at::IntArrayRef({batch.x.rows(), tokens, channels}));
    for (index_t i = 0; i < batch.x.rows(); ++i) {
      const auto row = static_cast<std::size_t>(i);
      CHECK(inputs.t[i].item<float>() == static_cast<float>(batch.sigma[row] * 1000));
      CHECK(inputs.prompts[i].item<std::int64_t>() == batch.prompts[row]);
      CHECK(inputs.x[i][2][3].item<float>() == rollout.states().row(batch.states[row])[2 * channels + 3]);
    }
    if (!kept_x.defined()) kept = inputs, kept_x = inputs.x.clone();
    const at::Tensor v = model.forward(batch);
    const auto [loss, statistics] = policy_loss(backend, batch, v, at::Tensor(), clipped_grpo{});
    CHECK(statistics.max_abs_log_ratio == 0);
    loss.backward();
    const at::Tensor gradient = weight.grad().clone();
    weight.mutable_grad() = at::Tensor();
    const at::Tensor at_rows = inputs.prompts;
    const at::Tensor again = [&] {
      const at::Tensor n = network(inputs.x, inputs.t, no_text.expand_as(inputs.x),
                                   no_pooled.index_select(0, at_rows)),
                       c = network(inputs.x, inputs.t, text.index_select(0, at_rows),
                                   pooled.index_select(0, at_rows));
      return n + (c - n) * 2;
    }();
    CHECK(at::equal(v, again));
    policy_loss(backend, batch, again, at::Tensor(), clipped_grpo{}).loss.backward();
    CHECK(at::allclose(gradient, weight.grad(), 1e-4, 1e-7));
    CHECK(gradient.abs().max().item<float>() > 0);
    weight.mutable_grad() = at::Tensor();
  }
  CHECK(at::equal(kept.x, kept_x));  // other batches have not taken its memory
}

TEST_CASE("torch_model: a torch::jit::Module is a network", "[torch]") {
  const call_of_model call;
  torch::jit::Module module("network");
  module.define("def forward(self, x, t, text):\n  return x * text + t.view(-1, 1, 1)\n");
  const torch_conditioning<1> told{{text}};
  auto model = torch_model<float>(module_network(module), told, packed());
  const at::Tensor expected = call.x * rows_of(text, call.prompts) + broadcast(call.times());
  CHECK(at::equal(call.velocity(model), expected));
  torch::jit::Module tuple("tuple"), number("number");
  tuple.define("def forward(self, x, t, text):\n  return (x * text + t.view(-1, 1, 1), t)\n");
  number.define("def forward(self, x, t, text):\n  return 1.5\n");
  auto first = torch_model<float>(module_network(tuple), told, packed());
  CHECK(at::equal(call.velocity(first), expected));
  auto wrong = torch_model<float>(module_network(number), told, packed());
  CHECK_THROWS_AS(call.velocity(wrong), value_error);
  CHECK_THROWS_WITH(call.velocity(wrong),
                    Catch::Contains("returned Double") && Catch::Contains("expected a Tensor"));
}

TEST_CASE("torch_model: what the network returns is looked at", "[torch]") {
  const call_of_model call;
  const auto returns = [&](auto network) {
    return torch_model<float>(network, torch_conditioning<0>{}, packed());
  };
  auto flat = returns([](tensor x, tensor) { return x.flatten(1); });
  CHECK_THROWS_AS(call.velocity(flat), shape_error);
  CHECK_THROWS_WITH(call.velocity(flat),
                    Catch::Contains("shape (5, 12)") && Catch::Contains("expected shape (5, 3, 4)"));
  auto few = returns([](tensor x, tensor) { return x.slice(0, 1); });
  CHECK_THROWS_AS(call.velocity(few), shape_error);
  auto wide = returns([](tensor x, tensor) { return x.to(at::kDouble); });
  CHECK_THROWS_AS(call.velocity(wide), value_error);
  CHECK_THROWS_WITH(call.velocity(wide),
                    Catch::Contains("a tensor of Double") && Catch::Contains("expected Float"));
  auto elsewhere = returns([](tensor x, tensor) { return x.to(at::kMeta); });
  CHECK_THROWS_AS(call.velocity(elsewhere), memory_error);
  CHECK_THROWS_WITH(call.velocity(elsewhere),
                    Catch::Contains("on meta") && Catch::Contains("expected it on cpu"));
  auto nothing = returns([](tensor, tensor) { return at::Tensor(); });
  CHECK_THROWS_AS(call.velocity(nothing), memory_error);
  auto strided = returns([](tensor x, tensor) { return x.transpose(1, 2).contiguous().transpose(1, 2); });
  CHECK(at::equal(call.velocity(strided), call.x));
  auto rounded = torch_model<float, bfloat16>(empty_network, torch_conditioning<0>{}, packed());
  CHECK_THROWS_WITH(call.velocity(rounded), Catch::Contains("expected BFloat16"));
  // Nothing is written before all is checked.
  at::Tensor v = at::full({rows, tokens, channels}, 7);
  CHECK_THROWS_AS(
      wide.velocity(batch_view_of<const float>(call.x), call.sigma, call.prompts, batch_view_of<float>(v)),
      value_error);
  CHECK(at::equal(v, at::full({rows, tokens, channels}, 7)));
}

TEST_CASE("torch_model: options, conditioning and calls that do not fit are refused", "[torch]") {
  const auto with = [](torch_conditioning<2> told, torch_model_options options = packed()) {
    return torch_model<float>(elementwise, std::move(told), std::move(options));
  };
  auto options = packed();
  options.shape = {3, -4};
  CHECK_THROWS_WITH(with(conditioning, options), Catch::Contains("shape (3, -4)"));
  options = packed();
  options.timestep_scale = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(with(conditioning, options), value_error);
  options = packed();
  options.autocast = at::kInt;
  CHECK_THROWS_WITH(with(conditioning, options), Catch::Contains("autocast to Int"));
  CHECK_THROWS_WITH(with(conditioning, packed(guidance_rule::embedded)),
                    Catch::Contains("no guidance scale"));
  CHECK_THROWS_AS(with({.of_prompts = {text, at::Tensor()}}), memory_error);
  CHECK_THROWS_WITH(with({.of_prompts = {text, pooled.to(at::kMeta)}}), Catch::Contains("of_prompts[1]"));
  CHECK_THROWS_AS(with({.of_prompts = {text, at::zeros({})}}), shape_error);
  CHECK_THROWS_WITH(with({.of_prompts = {text, at::zeros({2, 4})}}), Catch::Contains("expected 3 rows"));
  CHECK_THROWS_AS(with({.of_prompts = {text, pooled}, .ids = {1, 2}}), shape_error);
  CHECK_THROWS_AS(with(with_negative), value_error);  // negative prompts, and no use for them
  CHECK_THROWS_AS(with(conditioning, packed(guidance_rule::linear, 2)), memory_error);
  CHECK_THROWS_AS(with({{text, pooled}, {no_text, at::zeros({2, 4})}}, packed(guidance_rule::linear, 2)),
                  shape_error);
  CHECK_THROWS_AS(
      with({{text, pooled}, {no_text, at::zeros({1, 4}, at::kDouble)}}, packed(guidance_rule::linear, 2)),
      value_error);

  call_of_model call;
  auto model = with(conditioning);
  for (const index_t id : {index_t{3}, index_t{-1}}) {
    call.prompts[4] = id;
    CHECK_THROWS_AS(call.velocity(model), value_error);
    CHECK_THROWS_WITH(call.velocity(model), Catch::Contains("prompt " + std::to_string(id)));
  }
  call.prompts.pop_back();
  CHECK_THROWS_WITH(call.velocity(model), Catch::Contains("5 states, 5 sigmas, 4 prompts"));
  CHECK_THROWS_AS(model.velocity(batch_view<const float>(nullptr, 0, 12), call.sigma, {},
                                 batch_view<float>(nullptr, 0, 12)),
                  shape_error);
}
