# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""The loop: roll out, decode, score, advantages, learn; evaluations and checkpoints between."""

import time

import numpy as np
import torch

import checkpoint
import finished
import tempflow
from credit import Part, credit
from durable import Stopped
from evaluation import evaluate
from learning import Learner
from methods import METHODS
from plans import Course
from prompts import prompts_of_update
from report import RunLog, Stopwatch, duration


class Trainer:
    """A run. `model` is a FlowModel, `evaluated` the prompts of evaluations."""

    def __init__(self, options, model, policy, rewards, prompts, evaluated, processes) -> None:
        self.options, self.model, self.policy, self.rewards = options, model, policy, rewards
        self.prompts, self.evaluated, self.processes = prompts, evaluated, processes
        self.watch, self.method = Stopwatch(), METHODS[options.method]
        self.evaluation_chain = tempflow.make_chain(self._sigmas(options.evaluation_steps), "ode")
        self.learner = Learner(self)

    def _sigmas(self, steps: int) -> torch.Tensor:
        tokens = {} if self.model.sigmas_of == "sd3" else {"image_tokens": self.model.tokens}
        return tempflow.sigmas(self.model.sigmas_of, steps, **tokens)

    def velocity(self, x, sigma, prompts):
        with self.watch.of("model"):
            return self.model(x, sigma, prompts)

    def run(self, first_update: int = 0, stops=lambda: False) -> None:
        """Updates from the first one on. Writes log.csv, images and checkpoints. Raises Stopped, after a checkpoint, when
        `stops` says so (on all processes alike)."""
        log = RunLog(self.options, first_update) if self.processes.main else None
        try:
            self._run(first_update, log, stops)
        finally:
            if log:
                log.close()

    def _run(self, first_update: int, log: RunLog | None, stops) -> None:
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
            stopped = stops()
            if log:
                log.write(row)
                self._say(row, left)
                if done == last or stopped or (options.checkpoint_every and done % options.checkpoint_every == 0):
                    checkpoint.save(options, self.policy, done)
            if stopped and done < last:
                raise Stopped

    def _say(self, row: dict, left: float) -> None:
        parts = ", ".join(f"{name} {row[name]:.4g}" for name in self.rewards.names)
        drift = f"  drift {row['drift']:.1g}" if "drift" in row else ""
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
        self.course = Course(self.method, self.options, self.processes, self._sigmas(self.options.steps), update)
        if self.method.old == "rollout" or (self.method.old and self.policy.old_weights is None):
            self.policy.remember()
        chosen = prompts_of_update(self.prompts, self.options.prompts_per_update, self.options.seed, update)
        with self.watch.of("encoder"):
            self.model.prepare(chosen)
        parts = self.collect(chosen, update)
        row = {"update": update} | self.judge(parts)
        shares = [self._batches(parts, share, update) for share in range(self.options.updates_per_rollout)]
        row |= self.rescore(shares) if self.options.rescore and not self.method.on_finished else {}
        row |= self.learner.learn(shares, sum(part.states for part in parts))
        if self.method.old == "average":
            self.policy.follow()
        row["seconds"], row["overhead"] = self.watch.total, self.watch.overhead
        return row | {f"seconds_{name}": seconds for name, seconds in sorted(self.watch.seconds.items())}

    def collect(self, chosen, update: int) -> list[Part]:
        """Samples of the update's prompts, with their rewards."""
        options, begun = self.options, []
        for first in range(0, len(chosen), options.rollout_prompts):
            some = {p.id: p for p in chosen[first:first + options.rollout_prompts]}
            with self.policy.old():
                rollout = self._roll_out(list(some), (options.seed, update), shape=self.model.shape,
                                         max_batch=options.model_batch, device=self.model.latents_on)
            begun.append((rollout, self.score(rollout.samples, [some[s.prompt] for s in rollout.identities])[0]))
            if not self.method.on_finished:
                rollout.samples = rollout.samples[:0].clone()  # scored, they have served
        return [Part(rollout, self.wait(waits)) for rollout, waits in begun]

    def _roll_out(self, prompts: list[int], key, **options):
        if self.method.on_finished:
            return finished.sample(self.velocity, self.course, prompts, key, **options)
        return tempflow.roll_out(self.velocity, self.course.plan, prompts, key, **options)

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
        return credit(parts, self.rewards, self.options, self.method, self.processes)

    def rescore(self, shares: list[tempflow.JointMinibatches]) -> dict:
        """Makes ratios start at 1; how far sampling was off, over all processes, and at each step that is trained."""
        drifts = [tempflow.rescore(self.velocity, batches) for batches in shares]
        everyone = self.processes.gather([(drift.changes, drift.steps) for drift in drifts])
        drift = tempflow.Drift(*(torch.cat(columns) for columns in zip(*(pair for each in everyone for pair in each))))
        by_step, nothing = drift.by_step(), tempflow.Drift(drift.changes[:0], drift.steps[:0])
        found = {step: by_step.get(step, nothing) if step in self.course.steps else None  # None: not of this update's window
                 for step in range(self.options.trained_steps)}
        return {"drift": drift.max_abs, "drift_mean": drift.mean_abs,
                **{f"drift_step_{step}": "" if of is None else of.max_abs for step, of in found.items()},
                **{f"drift_mean_step_{step}": "" if of is None else of.mean_abs for step, of in found.items()}}

    def _batches(self, parts: list[Part], share: int, update: int):
        """Of the update's rollouts, the initial noises of one of its optimiser steps."""
        options, course, cut = self.options, self.course, []
        skip_zeros = self.method.skips_zeros and not options.kl_beta
        others = [part.others(share, options.updates_per_rollout, self.method.dealt_by) for part in parts]
        if self.method.on_finished:
            return finished.FinishedBatches(parts, course, leave_out=others, size=options.train_batch, skip_zeros=skip_zeros,
                                            processes=self.processes)
        for part, left_out in zip(parts, others):
            cut.append(tempflow.minibatches(part.rollout, part.advantages, course.weights, leave_out=left_out,
                                            size=options.train_batch, shuffle=(options.seed, update), of_rows=part.of_rows,
                                            skip_zeros=skip_zeros))
        return tempflow.joint_minibatches(cut, group=self.processes.group)
