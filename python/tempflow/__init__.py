# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""tempflow: policy-gradient operators for flow-matching models, as TempFlow-GRPO and its family use them.

    chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
    plan = tempflow.branch_plan(chain, seeds_per_prompt=4, explorations=6)
    rollout = tempflow.roll_out(model, plan, prompts, key=(seed, update), shape=(16, 64, 64))
    advantages = tempflow.group_advantages(score(rollout.samples), rollout.groups("prompt"))
    weights = tempflow.timestep_weights(chain, chain.trainable_steps())
    for batch in tempflow.minibatches(rollout, advantages, weights, size=8):
        loss, statistics = tempflow.policy_loss(model(batch.x, batch.sigma, batch.prompts), batch)
        loss.backward()
        if batch.completes_update: optimizer.step(); optimizer.zero_grad()

`python -m tempflow.check` says what is installed, and tests it. Operators run on the CPU, and where the package was built
with a CUDA compiler on CUDA tensors too, in the current stream.
"""

from importlib.metadata import PackageNotFoundError, version

from ._operators import has_cuda
from .advantages import (Advantages, CombinedAdvantages, GroupStatistics, RewardStatistics, RunningAdvantages, best_and_worst,
                         combined_advantages, dead_group_samples, group_advantages, trimmed_advantages, win_rates,
                         win_rates_of_scores)
from .batches import Batch, Minibatches, minibatches
from .config import config_summary
from .drop_in import clipped_loss, sde_step_with_logprob
from .errors import BackendMemoryError, GroupError, InvalidValueError, ScheduleError, ShapeError, TempflowError
from .guidance import guided
from .joint import JointMinibatches, joint_advantages, joint_minibatches, sum_gradients
from .loss import PolicyStatistics, ema_decay, ema_update, policy_loss, policy_loss_rows, statistics_of
from .objectives import (AdvantageWeightedMatching, ClippedGRPO, DiffusionNFT, DualClippedGRPO, FlowDPPO, GRPOGuard,
                         Objective, PreferencePairs, SequenceGRPO)
from .plans import Cost, Plan, branch_plan, flow_plan, tree_plan
from .rescoring import Drift, RowCorrections, StepDrift, corrected_weights, drift_by_step, rescore
from .rollout import Identity, Rollout, roll_out
from .sampling import sample
from .schedule import Chain, clean_transitions, make_chain, preset, sigmas, timestep_weights
from .steps import branch_step, log_prob, noise, noised, ode_step, step
from .sums import policy_gradient, policy_scores, policy_sums

try:
    __version__ = version("tempflow")
except PackageNotFoundError:  # a source tree
    __version__ = "0"

__all__ = [
    "AdvantageWeightedMatching", "Advantages", "BackendMemoryError", "Batch", "Chain", "ClippedGRPO",
    "CombinedAdvantages", "Cost", "DiffusionNFT", "Drift", "DualClippedGRPO", "FlowDPPO", "GRPOGuard", "GroupError",
    "GroupStatistics", "Identity", "InvalidValueError", "JointMinibatches", "Minibatches", "Objective", "Plan",
    "PolicyStatistics", "PreferencePairs", "RewardStatistics", "Rollout", "RowCorrections", "RunningAdvantages",
    "ScheduleError", "SequenceGRPO", "ShapeError", "StepDrift", "TempflowError", "best_and_worst", "branch_plan",
    "branch_step", "clean_transitions", "clipped_loss", "combined_advantages", "config_summary", "corrected_weights",
    "dead_group_samples", "drift_by_step", "ema_decay", "ema_update", "flow_plan", "group_advantages", "guided",
    "has_cuda", "joint_advantages", "joint_minibatches", "log_prob", "make_chain", "minibatches", "noise", "noised",
    "ode_step", "policy_gradient", "policy_loss", "policy_loss_rows", "policy_scores", "policy_sums", "preset",
    "rescore", "roll_out", "sample", "sde_step_with_logprob", "sigmas", "statistics_of", "step", "sum_gradients",
    "timestep_weights", "tree_plan", "trimmed_advantages", "win_rates", "win_rates_of_scores",
]
