// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

// One trajectory at a time, one row per call: what a rollout has to equal bit for bit.

#include <span>

#include "support/batches.hpp"
#include "support/models.hpp"
#include "tempflow/backend/cpu.hpp"
#include "tempflow/ops/fill_noise.hpp"
#include "tempflow/ops/step.hpp"
#include "tempflow/schedule/chain.hpp"

namespace support {

template <class T>
class walker {
 public:
  tempflow::batch_buffer<T> x, v;

  walker(const tempflow::chain& steps, index_t dimension, tempflow::noise_key key, tempflow::noise_id start,
         bool antithetic = false)
      : x(1, dimension),
        v(1, dimension),
        steps_(steps),
        model_(dimension),
        key_(key),
        id_(start),
        antithetic_(antithetic) {
    id_.step = tempflow::initial_noise_step;
    tempflow::fill_noise(cpu_, tempflow::noise_source(key, id_), x.view());
  }

  /// The ODE from one knot to another.
  void ode(index_t from, index_t to) {
    evaluate(from);
    tempflow::ode_step(cpu_, x.view(), v, steps_.ode_step(from, to), x);
  }

  /// A step that draws as a branch; returns the log-prob.
  double draw(index_t step, index_t branch) {
    evaluate(step);
    id_.step = static_cast<std::uint16_t>(step);
    id_.branch = static_cast<std::uint16_t>(branch);
    tempflow::batch_buffer<T> y(1, x.columns());
    double log_prob = 0;
    tempflow::step(cpu_, x.view(), v, steps_[step], tempflow::noise_source(key_, id_, antithetic_), y,
                   std::span(&log_prob, 1));
    x = y;
    return log_prob;
  }

 private:
  void evaluate(index_t knot) {
    const index_t prompt = id_.prompt;
    model_.velocity(x.view(), std::span(&steps_.sigmas()[static_cast<std::size_t>(knot)], 1),
                    std::span(&prompt, 1), v.view());
  }

  const tempflow::chain& steps_;
  row_model<T> model_;
  tempflow::cpu_backend cpu_{1};
  tempflow::noise_key key_;
  tempflow::noise_id id_;
  bool antithetic_;
};

}  // namespace support
