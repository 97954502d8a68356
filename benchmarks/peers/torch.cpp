// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// LibTorch, twice. torch_eager does what the published Python trainers do, operation by operation, through the same
// ATen calls, with autograd for the loss. torch_expert is the best that we can do with them by hand: the closed-form
// gradient, in place, in memory that is kept.

#include <torch/torch.h>

#include "../peer.hpp"

namespace bench {
namespace {

at::ScalarType dtype_of(storage type) {
  switch (type) {
    case storage::bf16: return at::kBFloat16;
    case storage::f16: return at::kHalf;
    case storage::f64: return at::kDouble;
    default: return at::kFloat;
  }
}

at::ScalarType compute_of(storage type) { return type == storage::f64 ? at::kDouble : at::kFloat; }

at::Tensor tensor(const task& t, const void* batch, index times = 1) {
  return at::from_blob(const_cast<void*>(batch), {times * t.rows, t.columns}, dtype_of(t.type));
}

/// One number per row, as a (B, 1) tensor of the compute type.
at::Tensor column(const task& t, const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).to(compute_of(t.type)).unsqueeze(1);
}
at::Tensor column(const task& t, double value) {
  return column(t, std::vector<double>(static_cast<std::size_t>(t.rows), value));
}

void copy(const at::Tensor& from, std::vector<double>& to) {
  const auto values = from.to(at::kDouble).contiguous();
  std::copy_n(values.data_ptr<double>(), values.numel(), to.begin());
}

/// The transition as trainers have it: coefficients a row, since a batch mixes steps.
struct eager_transition {
  at::Tensor alpha, factor, minus_dt, std;

  explicit eager_transition(const task& t)
      : alpha(column(t, t.step.alpha)),
        factor(column(t, -t.step.beta / t.step.dt)),
        minus_dt(column(t, -t.step.dt)),
        std(column(t, t.step.std)) {}

  at::Tensor mean(const at::Tensor& x, const at::Tensor& v) const {
    return x * alpha + v * factor * minus_dt;
  }

  at::Tensor log_prob(const at::Tensor& y, const at::Tensor& mean) const {
    const auto all = -(y - mean).pow(2) / (2 * std.pow(2)) - at::log(std) - std::log(std::sqrt(2 * M_PI));
    return all.mean(1);
  }

  /// The same for each of the K explorations of a row.
  eager_transition repeated() const {
    eager_transition all = *this;
    all.std = std.repeat_interleave(explorations, 0);
    return all;
  }
};

/// Tensors in which the work is done: upcast, where storage is narrower.
struct eager_input {
  at::Tensor x, v;

  eager_input(const task& t, const buffers& b)
      : x(tensor(t, b.x).to(compute_of(t.type))), v(tensor(t, b.v).to(compute_of(t.type))) {}
};

operation eager_step(const task& t) {
  return [&t, transition = eager_transition(t), y = at::Tensor()](const buffers& b, results& r) mutable {
    const at::NoGradGuard no_grad;
    const eager_input in(t, b);
    const auto mean = transition.mean(in.x, in.v);
    const auto drawn = mean + transition.std * at::randn(mean.sizes(), mean.options());
    copy(transition.log_prob(drawn, mean), r.log_probs);
    y = drawn.to(dtype_of(t.type));
    r.out = y.data_ptr();
  };
}

operation eager_branch_step(const task& t) {
  return [&t, transition = eager_transition(t), trunk = at::Tensor(), y = at::Tensor()](const buffers& b,
                                                                                        results& r) mutable {
    const at::NoGradGuard no_grad;
    const eager_input in(t, b);
    const auto mean = transition.mean(in.x, in.v).repeat_interleave(explorations, 0);
    const auto aside = transition.repeated();
    const auto drawn = mean + aside.std * at::randn(mean.sizes(), mean.options());
    copy(aside.log_prob(drawn, mean), r.log_probs);
    y = drawn.to(dtype_of(t.type));
    trunk = (in.x + transition.minus_dt * in.v).to(dtype_of(t.type));
    r.out = trunk.data_ptr();
    r.branches = y.data_ptr();
  };
}

operation eager_log_prob(const task& t) {
  return [&t, transition = eager_transition(t)](const buffers& b, results& r) {
    const at::NoGradGuard no_grad;
    const eager_input in(t, b);
    copy(transition.log_prob(tensor(t, b.y).to(compute_of(t.type)), transition.mean(in.x, in.v)),
         r.log_probs);
  };
}

/// The reference policy's mean is computed without its log-prob, which trainers compute and throw away. Each of the
/// Siblings transitions of a state is compared with the one mean that the model has for it.
template <index Siblings>
operation eager_loss(const task& t) {
  const auto old = column(t, t.old_log_probs).squeeze(1), advantages = column(t, t.advantages).squeeze(1);
  return [&t, old, advantages, transition = eager_transition(t), gradient = at::Tensor()](
             const buffers& b, results& r) mutable {
    const auto compute = compute_of(t.type);
    const auto x = tensor(t, b.x).to(compute);
    const auto y = tensor(t, Siblings == 1 ? b.y : b.branches, Siblings).to(compute);
    const auto v = tensor(t, b.v).requires_grad_();
    at::Tensor reference_mean;
    {
      const at::NoGradGuard no_grad;
      reference_mean = transition.mean(x, tensor(t, b.v_ref).to(compute));
    }
    const auto mean = transition.mean(x, v.to(compute));
    const auto log_prob = Siblings == 1
                              ? transition.log_prob(y, mean)
                              : transition.repeated().log_prob(y, mean.repeat_interleave(Siblings, 0));
    const auto ratio = at::exp(log_prob - old);
    const auto clamped = at::clamp(advantages, -t.advantage_clip, t.advantage_clip);
    const auto policy =
        at::mean(at::maximum(-clamped * ratio, -clamped * at::clamp(ratio, 1 - t.clip, 1 + t.clip)));
    const auto kl = (mean - reference_mean).pow(2).mean(1, true) / (2 * transition.std.pow(2));
    const auto loss = policy + t.kl_beta * at::mean(kl);
    (t.gradient_scale == 1 ? loss : loss * t.gradient_scale).backward();
    r.loss = loss.item<double>();
    gradient = v.grad();
    r.out = gradient.data_ptr();
  };
}

operation eager_policy_loss(const task& t) { return eager_loss<1>(t); }
operation eager_siblings(const task& t) { return eager_loss<explorations>(t); }

operation eager_guidance(const task& t) {
  return [&t, v = at::Tensor()](const buffers& b, results& r) mutable {
    const at::NoGradGuard no_grad;
    const eager_input in(t, b);
    auto mixed = in.v + guidance_scale * (in.x - in.v);
    if (t.channels() > 0) {
      const auto norms = [&](const at::Tensor& of) {
        return of.reshape({t.rows, -1, t.channels()}).norm(2, {-1}, true);
      };
      mixed = (mixed.reshape({t.rows, -1, t.channels()}) * (norms(in.x) / norms(mixed))).reshape_as(mixed);
    }
    v = mixed.to(dtype_of(t.type));
    r.out = v.data_ptr();
  };
}

operation eager_normals(const task& t) {
  return [&t, z = at::Tensor()](const buffers&, results& r) mutable {
    z = at::randn({t.rows, t.columns}, dtype_of(t.type));
    r.out = z.data_ptr();
  };
}

/// Groups are neighbours of one size, so they are the rows of a matrix.
operation eager_group_advantages(const task& t) {
  return [&t, advantages = at::Tensor()](const buffers& b, results& r) mutable {
    const auto rewards = tensor(t, b.x).view({-1, t.group_size});
    advantages = (rewards - rewards.mean(1, true)) / (rewards.std(1, false, true) + 1e-4);
    r.out = advantages.data_ptr();
  };
}

/// Kept memory, and inputs in the compute type: the batch itself, or a kept copy.
class workspace {
 public:
  explicit workspace(const task& t) : task_(t) {
    const auto options = at::TensorOptions(compute_of(t.type));
    residual = at::empty({t.rows, t.columns}, options);
    difference = at::empty({t.rows, t.columns}, options);
    if (narrow()) {
      for (auto& copy : copies_) copy = at::empty({t.rows, t.columns}, options);
    }
  }

  at::Tensor residual, difference;

  /// One of up to four inputs.
  at::Tensor input(int which, const void* batch) {
    const auto given = tensor(task_, batch);
    return narrow() ? copies_[which].copy_(given) : given;
  }

  /// Where a result is computed: the output itself, or memory from which `finish` rounds it to there.
  at::Tensor output(void* batch) { return narrow() ? residual : tensor(task_, batch); }
  void finish(void* batch) {
    if (narrow()) tensor(task_, batch).copy_(residual);
  }

 private:
  bool narrow() const { return task_.type == storage::bf16 || task_.type == storage::f16; }

  const task& task_;
  at::Tensor copies_[4];
};

std::vector<double> sums_of_squares(const at::Tensor& batch) {
  std::vector<double> sums(static_cast<std::size_t>(batch.size(0)));
  copy(at::linalg_vector_norm(batch, 2, at::IntArrayRef{1}), sums);
  for (double& sum : sums) sum *= sum;
  return sums;
}

void write_residual(const task& t, const at::Tensor& x, const at::Tensor& v, const at::Tensor& y,
                    at::Tensor& out) {
  at::sub_out(out, y, x, t.step.alpha);
  out.sub_(v, t.step.beta);
}

operation expert_log_prob(const task& t) {
  return [&t, work = workspace(t)](const buffers& b, results& r) mutable {
    const at::NoGradGuard no_grad;
    write_residual(t, work.input(0, b.x), work.input(1, b.v), work.input(2, b.y), work.residual);
    const auto squared = sums_of_squares(work.residual);
    std::transform(squared.begin(), squared.end(), r.log_probs.begin(),
                   [&](double s) { return log_prob_of(t, s); });
  };
}

operation expert_policy_loss(const task& t) {
  return [&t, work = workspace(t)](const buffers& b, results& r) mutable {
    const at::NoGradGuard no_grad;
    const auto v = work.input(1, b.v);
    write_residual(t, work.input(0, b.x), v, work.input(2, b.y), work.residual);
    at::sub_out(work.difference, v, work.input(3, b.v_ref));
    const auto residuals = sums_of_squares(work.residual), differences = sums_of_squares(work.difference);
    std::vector<double> on_residual, on_difference;
    r.loss = 0;
    for (index i = 0; i < t.rows; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const row_loss l = loss_of(t, i, residuals[at], differences[at]);
      r.loss += l.loss;
      on_residual.push_back(l.on_residual);
      on_difference.push_back(l.on_difference);
    }
    auto gradient = work.output(b.out);
    at::mul_out(gradient, work.residual, column(t, on_residual));
    gradient.addcmul_(work.difference, column(t, on_difference));
    work.finish(b.out);
  };
}

/// The log-prob is that of the noise, so the step is one pass shorter (and not that of a rounded y).
operation expert_step(const task& t) {
  return [&t, work = workspace(t)](const buffers& b, results& r) mutable {
    const at::NoGradGuard no_grad;
    auto y = work.output(b.out);
    y.normal_(0, t.step.std);
    const auto squared = sums_of_squares(y);
    std::transform(squared.begin(), squared.end(), r.log_probs.begin(),
                   [&](double s) { return log_prob_of(t, s); });
    y.add_(work.input(0, b.x), t.step.alpha).add_(work.input(1, b.v), t.step.beta);
    work.finish(b.out);
  };
}

/// Torch's number of threads is a property of the process: an operation that is made for a task sets it.
template <operation (*Make)(const task&)>
operation with_threads(const task& t) {
  static int now = 0;
  if (now != t.threads) at::set_num_threads(now = t.threads);
  return Make(t);
}

peer eager(const std::string& version) {
  peer p{"torch_eager", version + ", the published implementations' maths; policy_loss by autograd", {}};
  for (const storage type : {storage::f32, storage::bf16, storage::f16, storage::f64}) {
    p.offers.push_back({kernel::step, type, with_threads<eager_step>});
    p.offers.push_back({kernel::log_prob, type, with_threads<eager_log_prob>});
    p.offers.push_back({kernel::policy_loss, type, with_threads<eager_policy_loss>});
    p.offers.push_back({kernel::guidance, type, with_threads<eager_guidance>});
    p.offers.push_back({kernel::guidance_with_norms, type, with_threads<eager_guidance>});
  }
  for (const storage type : {storage::f32, storage::bf16}) {
    p.offers.push_back({kernel::branch_step, type, with_threads<eager_branch_step>});
    p.offers.push_back({kernel::siblings, type, with_threads<eager_siblings>});
  }
  p.offers.push_back({kernel::normals, storage::f32, with_threads<eager_normals>});
  p.offers.push_back({kernel::group_advantages, storage::f64, with_threads<eager_group_advantages>});
  return p;
}

peer expert(const std::string& version) {
  peer p{"torch_expert", version + ", gradient by hand, in place, in memory that is kept", {}};
  for (const storage type : {storage::f32, storage::bf16}) {
    p.offers.push_back({kernel::step, type, with_threads<expert_step>});
    p.offers.push_back({kernel::log_prob, type, with_threads<expert_log_prob>});
    p.offers.push_back({kernel::policy_loss, type, with_threads<expert_policy_loss>});
  }
  return p;
}

/// The release, and the instruction set that its kernels chose on this machine.
std::string version() {
  std::string text = TORCH_VERSION;
  const std::string config = at::show_config(), key = "CPU capability usage: ";
  if (const auto at = config.find(key); at != std::string::npos) {
    const auto first = at + key.size();
    text += " (" + config.substr(first, config.find('\n', first) - first) + ")";
  }
  return text;
}

const registration added[] = {registration(eager(version())), registration(expert(version()))};

}  // namespace
}  // namespace bench
