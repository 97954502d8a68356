// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0

// tempflow itself, and its reference backend: naive, in double, the oracle of all others. Compiled at plain -O2, as a
// user compiles it.

#include <algorithm>
#include <map>
#include <span>

#include <tempflow/tempflow.hpp>

#include "../peer.hpp"
#include "../threads.hpp"

namespace bench {
namespace {

namespace tf = tempflow;

constexpr tf::noise_key key{.seed = 3};

tf::transition transition_of(const task& t) {
  return {.alpha = t.step.alpha, .beta = t.step.beta, .std = t.step.std, .dt = t.step.dt};
}

template <class Place>
Place place_of(const task& t) {
  if constexpr (std::same_as<Place, tf::cpu_backend>) {
    return threads(t.threads);
  } else {
    return Place{};
  }
}

std::vector<tf::noise_id> noise_ids(const task& t) {
  std::vector<tf::noise_id> ids(static_cast<std::size_t>(t.rows));
  for (std::uint32_t i = 0; auto& id : ids) id.seed = i++;
  return ids;
}

template <class T>
tf::batch_view<const T> read(const task& t, const void* batch, index times = 1) {
  return {static_cast<const T*>(batch), times * t.rows, t.columns};
}

template <class T>
tf::batch_view<T> write(const task& t, void* batch, index times = 1) {
  return {static_cast<T*>(batch), times * t.rows, t.columns};
}

template <class Place, class T>
operation step(const task& t) {
  return [&t, backend = place_of<Place>(t), ids = noise_ids(t)](const buffers& b, results& r) {
    tf::step(backend, read<T>(t, b.x), read<T>(t, b.v), transition_of(t), {key, ids}, write<T>(t, b.out),
             r.log_probs);
  };
}

template <class Place, class T>
operation branch_step(const task& t) {
  return [&t, backend = place_of<Place>(t), ids = noise_ids(t)](const buffers& b, results& r) {
    const tf::transition along{.alpha = 1, .beta = -t.step.dt};
    tf::branch_step(backend, read<T>(t, b.x), read<T>(t, b.v), along, transition_of(t), {key, ids},
                    write<T>(t, b.out), write<T>(t, b.branches, explorations), r.log_probs);
  };
}

/// branch_step's work by the operations that it fuses: each reads x and v again.
template <class Place, class T>
operation separate_steps(const task& t) {
  return [&t, backend = place_of<Place>(t), ids = noise_ids(t),
          log_probs = std::vector<double>(static_cast<std::size_t>(t.rows))](const buffers& b,
                                                                             results& r) mutable {
    const auto x = read<T>(t, b.x), v = read<T>(t, b.v);
    const auto branches = write<T>(t, b.branches, explorations);
    tf::ode_step(backend, x, v, tf::transition{.alpha = 1, .beta = -t.step.dt}, write<T>(t, b.out));
    for (index k = 0; k < explorations; ++k) {
      for (auto& id : ids) id.branch = static_cast<std::uint16_t>(k);
      const tf::batch_view<T> kth_of_each(branches.row(k), t.rows, t.columns, explorations * t.columns);
      tf::step(backend, x, v, transition_of(t), {key, ids}, kth_of_each, log_probs);
      for (index i = 0; i < t.rows; ++i)
        r.log_probs[static_cast<std::size_t>(i * explorations + k)] = log_probs[static_cast<std::size_t>(i)];
    }
  };
}

template <class Place, class T>
operation log_prob(const task& t) {
  return [&t, backend = place_of<Place>(t)](const buffers& b, results& r) {
    tf::log_prob(backend, read<T>(t, b.x), read<T>(t, b.v), read<T>(t, b.y), transition_of(t), r.log_probs);
  };
}

tf::clipped_grpo objective_of(const task& t) {
  return {.clip = {t.clip, t.clip}, .advantage_clip = t.advantage_clip, .kl_beta = t.kl_beta};
}

template <class Place, class T>
operation policy_loss(const task& t) {
  return [&t, objective = objective_of(t), backend = place_of<Place>(t),
          rows = std::vector<tf::policy_row>(static_cast<std::size_t>(t.rows))](const buffers& b,
                                                                                results& r) mutable {
    const tf::policy_batch<T> batch{.x = read<T>(t, b.x),
                                    .y = read<T>(t, b.y),
                                    .transitions = transition_of(t),
                                    .old_log_probs = t.old_log_probs,
                                    .advantages = t.advantages,
                                    .gradient_scale = t.gradient_scale};
    r.loss = tf::policy_loss(backend, batch, read<T>(t, b.v), read<T>(t, b.v_ref), objective,
                             write<T>(t, b.out), std::span(rows))
                 .loss;
    std::transform(rows.begin(), rows.end(), r.log_probs.begin(),
                   [](const auto& row) { return row.log_prob; });
  };
}

/// policy_loss in two calls, with the host's part between them.
template <class Place, class T>
operation two_calls(const task& t) {
  const auto count = static_cast<std::size_t>(t.rows);
  return [&t, objective = objective_of(t), backend = place_of<Place>(t),
          rows = std::vector<tf::policy_row>(count), sums = std::vector<tf::row_sums>(count),
          factors = std::vector<tf::row_factors>(count)](const buffers& b, results& r) mutable {
    const tf::policy_batch<T> batch{.x = read<T>(t, b.x),
                                    .y = read<T>(t, b.y),
                                    .transitions = transition_of(t),
                                    .old_log_probs = t.old_log_probs,
                                    .advantages = t.advantages,
                                    .gradient_scale = t.gradient_scale};
    const auto v_ref = t.kl_beta == 0 ? tf::batch_view<const T>() : read<T>(t, b.v_ref);
    tf::policy_sums(backend, batch, read<T>(t, b.v), v_ref, {}, sums);
    tf::policy_scores(batch, objective, std::span<const tf::row_sums>(sums), std::span(rows),
                      std::span(factors));
    tf::policy_gradient(backend, batch, read<T>(t, b.v), v_ref, {}, factors, write<T>(t, b.out), rows);
    r.loss = tf::summarize(rows, t.kl_beta, static_cast<double>(t.rows)).loss;
    std::transform(rows.begin(), rows.end(), r.log_probs.begin(),
                   [](const auto& row) { return row.log_prob; });
  };
}

/// log_prob with a mask that counts all elements.
template <class Place, class T>
operation masked_log_prob(const task& t) {
  return [&t, backend = place_of<Place>(t),
          mask = std::vector<std::uint8_t>(static_cast<std::size_t>(t.columns), 1)](const buffers& b,
                                                                                    results& r) {
    tf::log_prob(backend, read<T>(t, b.x), read<T>(t, b.v), read<T>(t, b.y), transition_of(t), r.log_probs,
                 {}, {mask.data(), 1, t.columns});
  };
}

template <class Place, class T>
operation siblings(const task& t) {
  std::vector<tf::index_t> offsets;
  for (index i = 0; i <= t.rows; ++i) offsets.push_back(i * explorations);
  return [&t, offsets, backend = place_of<Place>(t), rows = std::vector<tf::policy_row>(t.advantages.size())](
             const buffers& b, results& r) mutable {
    const tf::policy_batch<T> batch{.x = read<T>(t, b.x),
                                    .y = read<T>(t, b.branches, explorations),
                                    .offsets = offsets,
                                    .transitions = transition_of(t),
                                    .old_log_probs = t.old_log_probs,
                                    .advantages = t.advantages,
                                    .gradient_scale = t.gradient_scale};
    r.loss = tf::policy_loss(backend, batch, read<T>(t, b.v), read<T>(t, b.v_ref), objective_of(t),
                             write<T>(t, b.out), std::span(rows))
                 .loss;
  };
}

/// siblings by a row for each transition: x, v and v_ref are there as often as a state has siblings (as a model that
/// is asked for each row gives them; not timed), and so is the gradient, which is added up for the check alone.
template <class Place, class T>
operation separate_rows(const task& t) {
  struct repeated {
    tf::batch_buffer<T> x, v, v_ref, gradient;
  };
  std::map<const void*, repeated> copies;
  return [&t, copies, backend = place_of<Place>(t), rows = std::vector<tf::policy_row>(t.advantages.size())](
             const buffers& b, results& r) mutable {
    repeated& own = copies[b.x];
    if (own.x.rows() == 0) {
      const auto repeat = [&](const void* from) {
        tf::batch_buffer<T> to(t.rows * explorations, t.columns);
        for (index i = 0; i < to.rows(); ++i)
          std::copy_n(read<T>(t, from).row(i / explorations), t.columns, to.view().row(i));
        return to;
      };
      own = {repeat(b.x), repeat(b.v), repeat(b.v_ref),
             tf::batch_buffer<T>(t.rows * explorations, t.columns)};
    }
    const tf::policy_batch<T> batch{.x = own.x,
                                    .y = read<T>(t, b.branches, explorations),
                                    .transitions = transition_of(t),
                                    .old_log_probs = t.old_log_probs,
                                    .advantages = t.advantages,
                                    .gradient_scale = t.gradient_scale};
    r.loss = tf::policy_loss(backend, batch, own.v.view(), own.v_ref.view(), objective_of(t), own.gradient,
                             std::span(rows))
                 .loss;
    if (r.out != b.out) return;
    for (index i = 0; i < t.rows; ++i) {
      for (index e = 0; e < t.columns; ++e) {
        float sum = 0;
        for (index k = 0; k < explorations; ++k)
          sum += tf::load(own.gradient.view().row(i * explorations + k)[e]);
        write<T>(t, b.out).row(i)[e] = tf::store<T>(sum);
      }
    }
  };
}

template <class Place, class T>
operation guidance(const task& t) {
  return [&t, backend = place_of<Place>(t)](const buffers& b, results&) {
    tf::guide(backend, read<T>(t, b.x), read<T>(t, b.v), {.scale = guidance_scale, .channels = t.channels()},
              write<T>(t, b.out));
  };
}

template <class Place, class T>
operation normals(const task& t) {
  return [&t, backend = place_of<Place>(t), ids = noise_ids(t)](const buffers& b, results&) {
    tf::fill_noise(backend, {key, ids}, write<T>(t, b.out));
  };
}

operation group_advantages(const task& t) {
  std::vector<std::int64_t> groups(static_cast<std::size_t>(t.elements()));
  for (index i = 0; auto& group : groups) group = i++ / t.group_size;
  return [groups, scratch = std::vector<tf::index_t>(groups.size())](const buffers& b, results&) mutable {
    tf::group_advantages({static_cast<const double*>(b.x), groups.size()}, groups, {},
                         {static_cast<double*>(b.out), groups.size()}, scratch);
  };
}

template <class Place, class T>
void add_offers(std::vector<offer>& offers, storage type) {
  offers.push_back({kernel::step, type, step<Place, T>});
  offers.push_back({kernel::log_prob, type, log_prob<Place, T>});
  offers.push_back({kernel::policy_loss, type, policy_loss<Place, T>});
  offers.push_back({kernel::guidance, type, guidance<Place, T>});
  offers.push_back({kernel::guidance_with_norms, type, guidance<Place, T>});
}

template <class Place>
std::vector<offer> offers() {
  std::vector<offer> all;
  add_offers<Place, float>(all, storage::f32);
  add_offers<Place, tf::bfloat16>(all, storage::bf16);
  add_offers<Place, tf::float16>(all, storage::f16);
  add_offers<Place, double>(all, storage::f64);
  return all;
}

peer library() {
  peer self{"tempflow", "plain -O2, cpu_backend", offers<tf::cpu_backend>()};
  self.offers.push_back({kernel::branch_step, storage::f32, branch_step<tf::cpu_backend, float>});
  self.offers.push_back({kernel::branch_step, storage::bf16, branch_step<tf::cpu_backend, tf::bfloat16>});
  self.offers.push_back({kernel::siblings, storage::f32, siblings<tf::cpu_backend, float>});
  self.offers.push_back({kernel::siblings, storage::bf16, siblings<tf::cpu_backend, tf::bfloat16>});
  self.offers.push_back({kernel::normals, storage::f32, normals<tf::cpu_backend, float>});
  self.offers.push_back({kernel::group_advantages, storage::f64, group_advantages});
  return self;
}

peer unfused() {
  return {"separate_steps",
          "tempflow's ode_step and K steps instead of branch_step",
          {{kernel::branch_step, storage::f32, separate_steps<tf::cpu_backend, float>},
           {kernel::branch_step, storage::bf16, separate_steps<tf::cpu_backend, tf::bfloat16>}}};
}

peer row_by_row() {
  return {"separate_rows",
          "tempflow's policy_loss of a row for each transition instead of siblings",
          {{kernel::siblings, storage::f32, separate_rows<tf::cpu_backend, float>},
           {kernel::siblings, storage::bf16, separate_rows<tf::cpu_backend, tf::bfloat16>}}};
}

peer general() {
  return {"two_calls",
          "policy_sums, policy_scores and policy_gradient instead of policy_loss",
          {{kernel::policy_loss, storage::f32, two_calls<tf::cpu_backend, float>},
           {kernel::policy_loss, storage::bf16, two_calls<tf::cpu_backend, tf::bfloat16>}}};
}

peer masked() {
  return {"masked",
          "log_prob with a mask",
          {{kernel::log_prob, storage::f32, masked_log_prob<tf::cpu_backend, float>},
           {kernel::log_prob, storage::bf16, masked_log_prob<tf::cpu_backend, tf::bfloat16>}}};
}

const registration added[] = {
    registration(library()),
    registration(unfused()),
    registration(row_by_row()),
    registration(general()),
    registration(masked()),
    registration({"reference", "tempflow's reference_backend: naive, serial, in double",
                  offers<tf::reference_backend>()})};

}  // namespace
}  // namespace bench
