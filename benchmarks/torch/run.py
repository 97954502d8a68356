#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the Python package against eager PyTorch and torch.compile: what a trainer writes without it.

  ./dev bench-torch                   results in build/bench-torch/summary.md
  ./dev bench-torch --rows 4 --quick  a smaller batch, fewer repetitions
  ./dev bench-torch --device cuda --rows 96 --elements 262144

Each operation runs as eager PyTorch, as torch.compile of the same text, and by tempflow, in random order in one process;
reported are the median CPU time of one thread (wall time for all threads, and for a GPU, of several calls until it has done
them), ratios to it, the memory that a call takes at its peak, and the error of its gradient (or log-prob) against float64.
Gradients are those that a model's backward pass would take over (torch.autograd.grad): none is added to a leaf's.
"""

import argparse
import math
import platform
import random
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tempflow
from progress import Progress

CLIP, KL = 1e-4, 0.04


def eager_log_prob(x, v, y, alpha, beta, std):
    """As published (Flow-GRPO, sd3_sde_with_logprob.py): in float32, whatever the model computes in."""
    mean = alpha * x.float() + beta * v.float()
    log_prob = -((y.float() - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return log_prob.flatten(1).mean(1), mean


def eager_loss(x, v, y, v_ref, old, advantages, alpha, beta, std):
    log_prob, mean = eager_log_prob(x, v, y, alpha, beta, std)
    ratio = torch.exp(log_prob - old)
    a = torch.clamp(advantages, -5, 5)
    loss = torch.mean(torch.maximum(-a * ratio, -a * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)))
    if v_ref is not None:
        mean_ref = alpha * x.float() + beta * v_ref.float()
        loss = loss + KL * ((mean - mean_ref) ** 2 / (2 * std**2)).flatten(1).mean(1).mean()
    return loss


def eager_step(x, v, alpha, beta, std):
    y = alpha * x.float() + beta * v.float() + std * torch.randn(x.shape, device=x.device)
    return y, eager_log_prob(x, v, y, alpha, beta, std)[0]


class Problem:
    """A batch of transitions, and each operation as the peers write it."""

    def __init__(self, rows: int, elements: int, velocities: torch.dtype, siblings: int, device: str) -> None:
        chain = tempflow.make_chain(tempflow.sigmas("sd3", 10), noise_level=0.7)
        self.t = chain[3].clone()
        self.numbers = tuple(torch.tensor(float(n), device=device) for n in self.t[:3])  # alpha, beta, std
        self.ids = torch.tensor([[i, 0, 3, 0] for i in range(rows)])
        self.x, self.v, self.v_ref = (tempflow.noise(self.ids, (elements,), (k, 0), device=device) for k in (1, 2, 3))
        self.v, self.v_ref = self.v.to(velocities), self.v_ref.to(velocities)
        v_old = (self.v.double() + 2e-3 * self.v_ref.double()).to(velocities)
        self.y, self.old = tempflow.step(self.x, v_old, self.t, self.ids, (4, 0))
        self.advantages = torch.linspace(-2, 2, rows, dtype=torch.float64, device=device)
        self.siblings = siblings
        _, self.branches, self.old_branches = tempflow.branch_step(self.x, v_old, self.t, self.ids, (5, 0), siblings)
        self.gains = torch.linspace(-2, 2, rows * siblings, dtype=torch.float64, device=device)
        self.offsets = torch.arange(0, rows * siblings + 1, siblings)

    def eager(self, operation: str, loss=eager_loss, log_prob=eager_log_prob, step=eager_step):
        v = self.v.detach().requires_grad_(operation.startswith("loss"))
        if operation == "step":
            return step(self.x, v, *self.numbers)[1]
        if operation == "log-prob":
            return log_prob(self.x, v, self.y, *self.numbers)[0]
        if operation == "loss, siblings":
            k = self.siblings
            value = loss(self.x.repeat_interleave(k, 0), v.repeat_interleave(k, 0), self.branches, None,
                         self.old_branches.float(), self.gains.float(), *self.numbers)
            return torch.autograd.grad(value, v)[0]
        v_ref = self.v_ref if operation == "loss with KL" else None
        value = loss(self.x, v, self.y, v_ref, self.old.float(), self.advantages.float(), *self.numbers)
        return torch.autograd.grad(value, v)[0]

    def tempflow(self, operation: str):
        if operation == "step":
            return tempflow.step(self.x, self.v, self.t, self.ids, (6, 0))[1]
        if operation == "log-prob":
            return tempflow.log_prob(self.x, self.v, self.y, self.t)
        v = self.v.detach().requires_grad_()
        if operation == "loss, siblings":
            loss, _ = tempflow.policy_loss_rows(v, self.x, self.branches, self.t, self.old_branches, self.gains,
                                                tempflow.ClippedGRPO(clip=CLIP), offsets=self.offsets)
        else:
            with_kl = operation == "loss with KL"
            loss, _ = tempflow.policy_loss_rows(v, self.x, self.y, self.t, self.old, self.advantages,
                                                  tempflow.ClippedGRPO(clip=CLIP, kl_beta=KL if with_kl else 0),
                                                  v_ref=self.v_ref if with_kl else None)
        return torch.autograd.grad(loss, v)[0]

    def exact(self, operation: str):
        """In float64; none for a step, whose noise the peers do not share."""
        if operation == "step":
            return None
        other = object.__new__(Problem)
        other.__dict__.update({name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
                               for name, value in self.__dict__.items()})
        other.numbers = tuple(self.t[:3].to(self.x.device))
        kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        try:
            return other.eager(operation)
        finally:
            torch.Tensor.float = kept


OPERATIONS = ("loss", "loss with KL", "loss, siblings", "log-prob", "step")


def peak_of(call) -> int:
    """Bytes that a call has at most beside what there was before."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    current = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak


def measure(problem: Problem, operation: str, threads: int, repetitions: int) -> dict:
    torch.set_num_threads(threads)
    on_gpu = problem.x.is_cuda
    clock = time.process_time if threads == 1 and not on_gpu else time.perf_counter
    calls = 10 if on_gpu else 1
    compiled = {"loss": torch.compile(eager_loss), "log_prob": torch.compile(eager_log_prob), "step": torch.compile(eager_step)}
    peers = {"eager": lambda: problem.eager(operation), "torch.compile": lambda: problem.eager(operation, **compiled),
             "tempflow": lambda: problem.tempflow(operation)}
    exact, errors, times = problem.exact(operation), {}, {name: [] for name in peers}
    for name, call in peers.items():
        answer = call()
        call()  # compiled, and warm
        if exact is not None:
            errors[name] = float((answer.double() - exact).abs().max() / exact.abs().max())
    for _ in range(repetitions):
        for name in random.sample(list(peers), len(peers)):
            before = clock()
            for _ in range(calls):
                peers[name]()
            if on_gpu:
                torch.cuda.synchronize()
            times[name].append((clock() - before) / calls)
    return {name: {"ms": 1e3 * statistics.median(times[name]), "error": errors.get(name), "peak": peak_of(peers[name]) / 2**20}
            for name in peers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=24, help="rows of a batch [24]")
    parser.add_argument("--elements", type=int, default=65536, help="elements of a row [65536]")
    parser.add_argument("--siblings", type=int, default=6, help="branches of a state, for the sibling loss (of a quarter of the rows) [6]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    parser.add_argument("--quick", action="store_true", help="5 repetitions instead of 25")
    parser.add_argument("--output", type=Path, default=Path("build/bench-torch"), help="for the summary [build/bench-torch]")
    chosen = parser.parse_args()
    all_threads = torch.get_num_threads()
    on = torch.cuda.get_device_name() if chosen.device == "cuda" else torch.ops.tempflow.instruction_set()
    lines = [f"torch {torch.__version__}, Python {platform.python_version()}, {on}, "
             f"{chosen.rows} x {chosen.elements} states in float32, clip {CLIP:g}, siblings {max(chosen.rows // 4, 1)} x "
             f"{chosen.siblings}", "",
             "| operation | v | threads | tempflow, ms | eager / tempflow | torch.compile / tempflow | peak MiB: eager, compile, tempflow | error: eager, compile, tempflow |",
             "|---|---|---|---|---|---|---|---|"]
    settings = [(operation, velocities, threads) for threads in sorted({1, all_threads} if chosen.device == "cpu" else {all_threads})
                for velocities in (torch.float32, torch.bfloat16) for operation in OPERATIONS]
    progress = Progress(len(settings))
    for operation, velocities, threads in settings:
        rows = max(chosen.rows // 4, 1) if operation == "loss, siblings" else chosen.rows
        found = measure(Problem(rows, chosen.elements, velocities, chosen.siblings, chosen.device), operation, threads, 5 if chosen.quick else 25)
        own = found["tempflow"]["ms"]
        names = ("eager", "torch.compile", "tempflow")
        errors = ", ".join(f"{found[n]['error']:.1e}" if found[n]["error"] is not None else "-" for n in names)
        peaks = ", ".join(f"{found[n]['peak']:.0f}" for n in names)
        lines.append(f"| {operation} | {str(velocities)[6:]} | {threads} | {own:.{2 if own > 0.1 else 4}f} | {found['eager']['ms'] / own:.1f} | "
                     f"{found['torch.compile']['ms'] / own:.1f} | {peaks} | {errors} |")
        progress.done += 1
        progress.show(operation)
    print()
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "summary.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
