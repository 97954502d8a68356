// SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "methods.hpp"

namespace fashion {

// What methods roll out.

/// An ODE trunk per seed, and branches at each trained step, finished by coarse ODE steps.
tempflow::forest branches(const update_setup& update);

/// Each sample by itself through all steps, or with --shared-noise from one start.
tempflow::forest trajectories(const update_setup& update);

/// Siblings that share their seed's ODE up to the window, part there and go their own way.
tempflow::forest split_at_window(const update_setup& update);

/// trajectories that take what lies behind the window in half as many steps, of second order.
tempflow::forest short_tails(const update_setup& update);

/// Trees that split at four steps, spread as the published 0, 3, 6, 9 of 16 are.
tempflow::forest trees(const update_setup& update);

/// Finished samples without a draw.
tempflow::forest ode_samples(const update_setup& update);

// Defaults that methods share.

/// Independent explorations, and how much is learnt.
void trajectories_of(options& o, int updates, double learning_rate, double kl_beta);

/// One start a prompt, and a window of four steps that slides.
void sliding(options& o);

/// Samples of the ODE, noised again.
void finished_samples(options& o, int updates, double learning_rate, double kl_beta);

}  // namespace fashion
