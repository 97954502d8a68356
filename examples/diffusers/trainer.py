# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The loop: roll out, decode, score, advantages, learn; evaluations and checkpoints between."""

import time
from pathlib import Path

import numpy as np
import torch

import checkpoint
import tempflow
from credit import Part, credit
from evaluation import evaluate
from prompts import prompts_of_update
from report import RunLog, Stopwatch, duration


class Trainer:
    """A run. `model` is a FlowModel, `evaluated` the prompts of evaluations."""

    def __init__(self, options, model, policy, rewards, prompts, evaluated, processes) -> None:
        self.options, self.model, self.policy, self.rewards = options, model, policy, rewards
        self.prompts, self.evaluated, self.processes = prompts, evaluated, processes
        self.watch = Stopwatch()
        self.chain = tempflow.make_chain(self._sigmas(options.steps), noise_level=options.noise_level)
        self.evaluation_chain = tempflow.make_chain(self._sigmas(options.evaluation_steps), "ode")
        steps = list(range(options.trained_steps))
        if options.method == "tempflow-grpo":
            self.plan = tempflow.branch_plan(self.chain, seeds_per_prompt=processes.share, explorations=options.explorations,
                                             branch_steps=steps, first_seed=processes.first_seed)
            self.weights = tempflow.timestep_weights(self.chain, steps)
        else:
            self.plan = tempflow.flow_plan(self.chain, samples_per_prompt=processes.share, trained_steps=steps,
                                           first_seed=processes.first_seed)
            self.weights = torch.ones(options.steps, dtype=torch.float64)

    def _sigmas(self, steps: int) -> torch.Tensor:
        tokens = {} if self.model.sigmas_of == "sd3" else {"image_tokens": self.model.tokens}
        return tempflow.sigmas(self.model.sigmas_of, steps, **tokens)

    def velocity(self, x, sigma, prompts):
        with self.watch.of("model"):
            return self.model(x, sigma, prompts)

    def run(self, first_update: int = 0) -> None:
        """Updates from the first one on. Writes log.csv, images and checkpoints."""
        log = RunLog(self.options, first_update) if self.processes.main else None
        try:
            self._run(first_update, log)
        finally:
            if log:
                log.close()

    def _run(self, first_update: int, log: RunLog | None) -> None:
        options, last, began, row = self.options, self.options.updates, time.perf_counter(), {}
        for update in range(first_update, last + 1):
            evaluated = {f"evaluation_{name}": "" for name in ["reward", *self.rewards.names]}
            if options.evaluate_every and (update % options.evaluate_every == 0 or update == last):
                evaluated = evaluate(self, update)
            if update == last:
                if log and any(v != "" for v in evaluated.values()):
                    log.write(dict.fromkeys(row, "") | {"update": update} | evaluated)
                break
            row = self.update(update) | evaluated
            done = update + 1
            left = (time.perf_counter() - began) / (done - first_update) * (last - done)
            for complaint in self.rewards.complaints():  # of this process
                print(f"  {complaint}", flush=True)
            if log:
                log.write(row)
                self._say(row, left)
                if done == last or (options.checkpoint_every and done % options.checkpoint_every == 0):
                    checkpoint.save(options, self.policy, done)

    def _say(self, row: dict, left: float) -> None:
        parts = ", ".join(f"{name} {row[name]:.4g}" for name in self.rewards.names)
        drift = f"  drift {row['drift']:.1g}" if self.options.rescore else ""
        kl = f"  kl {row['kl']:.3g}" if self.options.kl_beta else ""
        lost = f"  {row['excluded']} samples without reward" if row["excluded"] else ""
        steps = [name.removeprefix("drift_step_") for name in row if name.startswith("drift_step_") and row["drift"]]
        print(f"update {row['update'] + 1}/{self.options.updates}  reward {row['reward']:.4g} ({parts}){drift}{kl}  "
              f"clipped {row['clipped']:.0%}{lost}  {row['seconds']:.1f} s, {duration(left)} left", flush=True)
        if steps:
            told = (f"{step}: {row[f'drift_step_{step}']:.0e} ({row[f'drift_mean_step_{step}']:.0e})" for step in steps)
            print("  drift by step, max (mean): " + ", ".join(told), flush=True)

    def update(self, update: int) -> dict:
        """Learns from one rollout; what to log."""
        self.watch.begin()
        chosen = prompts_of_update(self.prompts, self.options.prompts_per_update, self.options.seed, update)
        with self.watch.of("encoder"):
            self.model.prepare(chosen)
        parts = self.collect(chosen, update)
        row = {"update": update} | self.judge(parts)
        shares = [self._batches(parts, share, update) for share in range(self.options.updates_per_rollout)]
        row |= self.rescore(shares) if self.options.rescore else {}
        row |= self.learn(parts, shares)
        row["seconds"], row["overhead"] = self.watch.total, self.watch.overhead
        return row | {f"seconds_{name}": seconds for name, seconds in sorted(self.watch.seconds.items())}

    def collect(self, chosen, update: int) -> list[Part]:
        """Samples of the update's prompts, with their rewards."""
        options, begun = self.options, []
        for first in range(0, len(chosen), options.rollout_prompts):
            some = {p.id: p for p in chosen[first:first + options.rollout_prompts]}
            rollout = tempflow.roll_out(self.velocity, self.plan, list(some), (options.seed, update), shape=self.model.shape,
                                        max_batch=options.model_batch, device=self.model.latents_on)
            begun.append((rollout, self.score(rollout.samples, [some[s.prompt] for s in rollout.identities])[0]))
            rollout.samples = rollout.samples[:0].clone()  # scored, they have served
        return [Part(rollout, self.wait(waits)) for rollout, waits in begun]

    def score(self, samples, prompts, keep_images: bool = False):
        """Decodes samples and begins to score them; functions that wait for the scores, and the images."""
        waits, kept, size = [], [], self.options.decode_batch
        for first in range(0, len(prompts), size):
            with self.watch.of("decoder"):
                images = self.model.images(samples[first:first + size])
            waits.append(self.rewards.submit(images, prompts[first:first + size]))
            if keep_images:
                kept.append(images)
        return waits, kept

    def wait(self, waits) -> dict:
        """The scores that `score` began, {name: numbers}."""
        with self.watch.of("reward"):
            done = [wait() for wait in waits]
        return {name: np.concatenate([scores[name] for scores in done] or [[]]) for name in self.rewards.names}

    def judge(self, parts: list[Part]) -> dict:
        return credit(parts, self.rewards, self.options, self.processes)

    def rescore(self, shares: list[tempflow.JointMinibatches]) -> dict:
        """Makes ratios start at 1; how far sampling was off, over all processes, and at each step that is trained."""
        drifts = [tempflow.rescore(self.velocity, batches) for batches in shares]
        everyone = self.processes.gather([(drift.changes, drift.steps) for drift in drifts])
        drift = tempflow.Drift(*(torch.cat(columns) for columns in zip(*(pair for each in everyone for pair in each))))
        trained, by_step = shares[0].parts[0].rollout.table[:, 2].unique().tolist(), drift.by_step()
        nothing = tempflow.Drift(drift.changes[:0], drift.steps[:0])  # of a step without rows that teach
        found = {step: by_step.get(step, nothing) for step in trained}
        return {"drift": drift.max_abs, "drift_mean": drift.mean_abs,
                **{f"drift_step_{step}": of.max_abs for step, of in found.items()},
                **{f"drift_mean_step_{step}": of.mean_abs for step, of in found.items()}}

    def _batches(self, parts: list[Part], share: int, update: int) -> tempflow.JointMinibatches:
        """Of the update's rollouts, the initial noises of one of its optimiser steps."""
        options, cut = self.options, []
        for part in parts:
            others = [i for i, s in enumerate(part.rollout.identities) if s.seed % options.updates_per_rollout != share]
            cut.append(tempflow.minibatches(part.rollout, part.advantages, self.weights, leave_out=others,
                                            size=options.train_batch, shuffle=(options.seed, update),
                                            skip_zeros=not options.kl_beta))
        return tempflow.joint_minibatches(cut, group=self.processes.group)

    def learn(self, parts: list[Part], shares: list[tempflow.JointMinibatches]) -> dict:
        """The optimiser's steps; statistics of all of them."""
        options, numbers, norms, states = self.options, [], [], 0
        for batches in shares:
            rows = [torch.empty(0, 9, dtype=torch.float64)]
            for batch in batches:  # none, where every group's rewards are equal
                rows.append(self._backward(batch))
                states += batch.x.shape[0] if len(batch.rows) else 0
                if batch.completes_update:
                    with self.watch.of("optimizer"):
                        norms.append(self.policy.step(self.processes))
            rows = torch.cat(self.processes.gather(torch.cat([each.cpu() for each in rows])))
            if rows.shape[0]:
                numbers.append(tempflow.statistics_of(rows, kl_beta=options.kl_beta, mean_over=batches.rows))
        found = {name: _mean(getattr(n, name) for n in numbers) for name in ("loss", "kl", "ratio_min", "ratio_max")}
        stored = sum(part.rollout.table[:, 0].unique().numel() for part in parts)
        states, stored = (sum(numbers) for numbers in zip(*self.processes.gather((states, stored))))
        return found | {"non_finite_rows": sum(n.non_finite_rows for n in numbers),
                        "clipped": _mean(n.fraction_below + n.fraction_above for n in numbers), "states_trained": states,
                        "states_skipped": stored - states, "gradient_norm": _mean(norms)}

    def _backward(self, batch) -> torch.Tensor:
        """Adds a batch's gradient; its rows' numbers."""
        v_ref = None
        if self.options.kl_beta:
            with self.watch.of("model"), self.policy.reference(), torch.no_grad():
                v_ref = self.model(batch.x, batch.sigma, batch.prompts)
        v = self.velocity(batch.x, batch.sigma, batch.prompts)
        loss, statistics = tempflow.policy_loss(v, batch, v_ref=v_ref, kl_beta=self.options.kl_beta, clip=self.options.clip,
                                                advantage_clip=self.options.advantage_clip)
        with self.watch.of("model"):
            self.policy.backward(loss)
        return statistics.per_row


def _mean(numbers) -> float:
    numbers = list(numbers)
    return float(np.mean(numbers)) if numbers else 0.0
