# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser's steps: losses and gradients of batches, by the method's objective."""

from dataclasses import replace

import numpy as np
import torch

import tempflow


class Learner:
    """Of a trainer, whose model, policy and stopwatch it uses."""

    def __init__(self, trainer) -> None:
        self.trainer, self.options, self.method = trainer, trainer.options, trainer.method
        self.policy, self.processes, self.watch = trainer.policy, trainer.processes, trainer.watch
        self.objective = self.method.objective(self.options)

    def learn(self, shares: list, stored: int) -> dict:
        """Of each share of batches a step; statistics of all. stored: states of this process's rollouts."""
        numbers, norms, states = [], [], 0
        for batches in shares:
            rows = [torch.empty(0, 9, dtype=torch.float64)]
            for batch, factors in self._with_factors(batches):  # none, where every group's rewards are equal
                rows.append(self._backward(batch) if factors is None else self._backward_of(batch, *factors))
                states += batch.x.shape[0] if len(batch.rows) else 0
                if batch.completes_update:
                    with self.watch.of("optimizer"):
                        norms.append(self.policy.step(self.processes))
            rows = torch.cat(self.processes.gather(torch.cat([each.cpu() for each in rows])))
            if rows.shape[0]:
                numbers.append(tempflow.statistics_of(rows, kl_beta=self.options.kl_beta, mean_over=batches.rows))
        found = {name: _mean(getattr(n, name) for n in numbers) for name in ("loss", "kl", "ratio_min", "ratio_max")}
        states, stored = (sum(numbers) for numbers in zip(*self.processes.gather((states, stored))))
        return found | {"non_finite_rows": sum(n.non_finite_rows for n in numbers),
                        "clipped": _mean(n.fraction_below + n.fraction_above for n in numbers), "states_trained": states,
                        "states_skipped": stored - states, "gradient_norm": _mean(norms)}

    def _backward(self, batch) -> torch.Tensor:
        """Adds a batch's gradient; its rows' numbers."""
        v_ref, v_old = self._reference_velocity(batch), self._old_velocity(batch)
        v = self.trainer.velocity(batch.x, batch.sigma, batch.prompts)
        v_old = v.detach() if v_old is None else v_old
        if self.method.on_finished:  # no rollout has scored this noise
            batch = replace(batch, old_log_probs=self._matching(batch, v_old))
        loss, statistics = tempflow.policy_loss(v, batch, self.objective, v_ref=v_ref, v_old=v_old if self.method.old else None)
        with self.watch.of("model"):
            self.policy.backward(loss)
        return statistics.per_row

    def _reference_velocity(self, batch):
        """Of the model without LoRA; None without KL."""
        if not self.options.kl_beta:
            return None
        with self.watch.of("model"), self.policy.reference(), torch.no_grad():
            return self.trainer.model(batch.x, batch.sigma, batch.prompts)

    def _old_velocity(self, batch):
        """Of the policy that sampled; None where that is the policy itself, or not needed. Called before the policy's own
        forward pass, under whose graph weights must not change."""
        if not self.method.old or self.policy.is_old:
            return None
        with self.watch.of("model"), self.policy.old(), torch.no_grad():
            return self.trainer.model(batch.x, batch.sigma, batch.prompts)

    def _matching(self, batch, v_old):
        """Log-probs of the policy that sampled, made of its flow-matching losses; None for a method without a ratio."""
        if batch.terms != "squared_error":
            return None
        return tempflow.log_prob(batch.x, v_old, batch.y, batch.transitions, offsets=batch.offsets, terms=batch.terms).cpu()

    def _with_factors(self, batches):
        """Batches, and where a sample's rows share a ratio, what each row's gradient is made of: (numbers, factors). That takes
        a forward pass over all batches first."""
        if not self.method.sequences:
            yield from ((batch, None) for batch in batches)
            return
        sums, seen = [], []  # of the batches no latents, which another pass gathers again
        for batch in batches:
            v = self.trainer.velocity(batch.x, batch.sigma, batch.prompts).detach()
            sums.append(tempflow.policy_sums(v, batch.x, batch.y, batch.transitions, offsets=batch.offsets,
                                             v_ref=self._reference_velocity(batch)).cpu())
            seen.append(replace(batch, x=None, y=None))
        if not seen:
            return
        of_state = [batch.transitions.repeat_interleave(batch.offsets.diff(), 0) for batch in seen]
        ids = torch.cat([batch.rollout.table[batch.rows, 6:8] for batch in seen])
        rows, factors = tempflow.policy_scores(
            torch.cat(sums), torch.cat(of_state), *(torch.cat([getattr(batch, name) for batch in seen])
                                                    for name in ("old_log_probs", "advantages")), self.objective,
            weights=torch.cat([batch.weights for batch in seen]), sequences=ids[:, 0] * 2**32 + ids[:, 1],
            mean_over=batches.rows)
        counts = [len(batch.rows) for batch in seen]
        yield from zip(batches, zip(rows.split(counts), factors.split(counts)))

    def _backward_of(self, batch, rows, factors) -> torch.Tensor:
        v_ref = self._reference_velocity(batch)
        v = self.trainer.velocity(batch.x, batch.sigma, batch.prompts)
        gradient = tempflow.policy_gradient(v.detach(), batch.x, batch.y, batch.transitions, factors, offsets=batch.offsets,
                                            v_ref=v_ref)
        with self.watch.of("model"):
            self.policy.backward((v.float() * gradient).sum())
        return rows


def _mean(numbers) -> float:
    numbers = list(numbers)
    return float(np.mean(numbers)) if numbers else 0.0
