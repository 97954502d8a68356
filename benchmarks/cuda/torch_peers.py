#!/usr/bin/env python3
# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of the CUDA benchmark: reads names, one a line, and answers each with a line of JSON.

torch_eager does what the published Python trainers do, operation by operation, with autograd for the loss;
torch_compile is the same function through torch.compile. Names are kernel/who/storage/BxD/state; the states are those
of timer.hpp but for graph, and are timed in the same way. Answers are checked against closed forms in double, and how
far off they are is told, as in accuracy.hpp; so is the memory of the device that a call takes beside its inputs.

  benchmarks/cuda/torch_peers.py --list | grep /96x | benchmarks/cuda/torch_peers.py
  benchmarks/cuda/torch_peers.py --check      the formulas at a tiny size, on the CPU: needs torch, and no GPU
"""

import argparse
import json
import math
import statistics
import sys
import time

try:
    import torch
except (ImportError, OSError) as problem:  # an OSError where its libraries are missing
    torch, no_torch = None, f"no torch ({problem})"

KERNELS = ["log_prob", "policy_loss", "policy_loss_kl", "step", "branch_step", "ema"]
SIZES = ["24x65536", "6x262144", "96x262144", "4x65536", "24x65537"]
STATES = ["cold", "hot", "stream"]
WHO = ["torch_eager", "torch_compile"]
ALPHA, BETA, STD, DT = 0.902, -0.1061, 0.4427, 0.1  # about flow_sde's from sigma 0.8 to 0.7
CLIP, ADVANTAGE_CLIP, KL_BETA, DECAY = 1e-4, 5.0, 0.04, 0.9
EXPLORATIONS, GROUP = 6, 8
SAMPLES, CALLS = 5, 20  # of a cold repetition, whose median counts; of the others


def names() -> list[str]:
    tasks = [(kernel, storage, size) for kernel in KERNELS for storage in ("f32", "bf16", "f16") for size in SIZES]
    tasks += [("group_advantages", "f64", size) for size in ("1x1152", "1x16384")]
    return [f"{kernel}/{who}/{storage}/{size}/{state}" for kernel, storage, size in tasks for state in STATES
            for who in WHO]


def log_prob_of(y, mean, std):
    every = -(y - mean).pow(2) / (2 * std.pow(2)) - torch.log(std) - math.log(math.sqrt(2 * math.pi))
    return every.mean(1)


class Problem:
    """Tensors of a kernel, and the function of them that is timed."""

    def __init__(self, kernel: str, storage: str, rows: int, columns: int, device: str) -> None:
        self.kernel, self.rows, self.columns = kernel, rows, columns
        self.type = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16, "f64": torch.float64}[storage]
        self.scale = float(rows * columns) if storage == "f16" else 1.0  # without it fp16 gradients vanish
        if kernel == "group_advantages":
            self.inputs = [torch.sin(torch.arange(columns, device=device, dtype=torch.float64))]
            return
        normals = lambda: torch.randn(rows, columns, device=device)
        column = lambda value: torch.full((rows, 1), value, device=device)
        x, v = normals().to(self.type), normals().to(self.type)
        if kernel == "ema":
            self.inputs = [x, v]
            return
        # Coefficients a row, since a batch mixes steps.
        transition = [column(ALPHA), column(-BETA / DT), column(-DT), column(STD)]
        if kernel in ("step", "branch_step"):
            self.inputs = [x, v, *transition]
            return
        y = (ALPHA * x.float() + BETA * v.float() + STD * normals()).to(self.type)
        self.inputs = [x, v, y, *transition]
        if kernel == "log_prob":
            return
        v.requires_grad_()
        with torch.no_grad():
            log_probs = self.log_prob_in_double()
        place = torch.arange(rows, device=device)
        old = (log_probs + 5e-4 * ((place % 3).double() - 1)).float()
        advantages = torch.where(place % 2 == 0, 0.75, -1.25).float()
        reference = [(v.detach().float() + 0.2 * normals()).to(self.type)] if kernel == "policy_loss_kl" else [None]
        self.inputs = [x, v, y, *transition, old, advantages, *reference]

    def function(self):
        return getattr(self, self.kernel)

    # The functions. They take all that they work on, so that torch.compile sees it.

    @staticmethod
    def mean(x, v, alpha, factor, minus_dt):
        return x * alpha + v * factor * minus_dt

    def log_prob(self, x, v, y, alpha, factor, minus_dt, std):
        return log_prob_of(y.float(), self.mean(x.float(), v.float(), alpha, factor, minus_dt), std)

    def loss(self, x, v, y, alpha, factor, minus_dt, std, old, advantages, v_ref):
        mean = self.mean(x.float(), v.float(), alpha, factor, minus_dt)
        ratio = torch.exp(log_prob_of(y.float(), mean, std) - old)
        clamped = torch.clamp(advantages, -ADVANTAGE_CLIP, ADVANTAGE_CLIP)
        loss = torch.mean(torch.maximum(-clamped * ratio, -clamped * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)))
        if v_ref is not None:
            with torch.no_grad():
                reference = self.mean(x.float(), v_ref.float(), alpha, factor, minus_dt)
            kl = (mean - reference).pow(2).mean(1, keepdim=True) / (2 * std.pow(2))
            loss = loss + KL_BETA * torch.mean(kl)
        return loss * self.scale if self.scale != 1 else loss

    policy_loss = policy_loss_kl = loss

    def step(self, x, v, alpha, factor, minus_dt, std):
        mean = self.mean(x.float(), v.float(), alpha, factor, minus_dt)
        drawn = mean + std * torch.randn_like(mean)
        return drawn.to(self.type), log_prob_of(drawn, mean, std)

    def branch_step(self, x, v, alpha, factor, minus_dt, std):
        mean = self.mean(x.float(), v.float(), alpha, factor, minus_dt).repeat_interleave(EXPLORATIONS, 0)
        stds = std.repeat_interleave(EXPLORATIONS, 0)
        drawn = mean + stds * torch.randn_like(mean)
        trunk = (x.float() + minus_dt * v.float()).to(self.type)
        return trunk, drawn.to(self.type), log_prob_of(drawn, mean, stds)

    def ema(self, average, weights):
        return average.lerp_(weights, 1 - DECAY)

    def group_advantages(self, rewards):
        groups = rewards.view(-1, GROUP)
        return (groups - groups.mean(1, keepdim=True)) / (groups.std(1, unbiased=False, keepdim=True) + 1e-4)

    def call(self, function):
        """What is timed: the function, and the gradient of a loss."""
        if self.kernel.startswith("policy_loss"):
            return torch.autograd.grad(function(*self.inputs), self.inputs[1])[0]
        with torch.no_grad():
            return function(*self.inputs)

    # What they should give.

    def residual_in_double(self):
        x, v, y = (batch.detach().double() for batch in self.inputs[:3])
        return y - ALPHA * x - BETA * v

    def log_prob_in_double(self):
        squares = self.residual_in_double().pow(2).mean(1)
        return -squares / (2 * STD**2) - math.log(STD) - 0.5 * math.log(2 * math.pi)

    def gradient_in_double(self):
        """dL/dv = c1 r + c2 (v - v_ref): the closed form, and no autograd."""
        old, advantages, v_ref = self.inputs[7:]
        ratio = torch.exp(self.log_prob_in_double() - old.double())
        plain, clipped = -advantages * ratio, -advantages * torch.clamp(ratio, 1 - CLIP, 1 + CLIP)
        slope = torch.where(plain >= clipped, plain, torch.zeros_like(plain)).unsqueeze(1)
        scale = self.scale / (self.columns * self.rows * STD**2)
        gradient = slope * BETA * scale * self.residual_in_double()
        if v_ref is not None:
            gradient += KL_BETA * BETA**2 * scale * (self.inputs[1].detach().double() - v_ref.double())
        return gradient

    def compare(self, function) -> tuple[str, float]:
        """Empty, or what is wrong with an answer; and its error against double (accuracy.hpp)."""
        unit = {torch.float64: 0, torch.float32: 0, torch.bfloat16: 2**-7, torch.float16: 2**-10}[self.type]
        before = self.inputs[0].clone() if self.kernel == "ema" else None
        answer = self.call(function)
        if self.kernel == "log_prob":
            want = self.log_prob_in_double()
            return differ("log-prob", answer, want, 2e-4), largest(answer, want)
        if self.kernel.startswith("policy_loss"):
            want = self.gradient_in_double()
            scale = want.abs().amax(1, keepdim=True).clamp(min=1e-300)
            return differ("gradient, of the largest in its row,", answer.double() / scale, want / scale,
                          2e-4 + unit), relative(answer, want)
        if self.kernel == "ema":
            want = DECAY * before.double() + (1 - DECAY) * self.inputs[1].double()
            return differ("average", answer, want, 1e-6 + 8 * unit), relative(answer, want)
        if self.kernel == "group_advantages":
            groups = self.inputs[0].view(-1, GROUP)
            centred = groups - groups.mean(1, keepdim=True)
            want = centred / (centred.pow(2).mean(1, keepdim=True).sqrt() + 1e-4)
            return differ("advantage", answer, want, 1e-9), largest(answer, want)
        x, v = self.inputs[0].double(), self.inputs[1].double()
        times = EXPLORATIONS if self.kernel == "branch_step" else 1
        *trunk, drawn, log_probs = answer
        noise = (drawn.double() - (ALPHA * x + BETA * v).repeat_interleave(times, 0)) / STD
        count = noise.numel()
        want = -noise.pow(2).mean(1) / 2 - math.log(STD) - 0.5 * math.log(2 * math.pi)
        wrong = (differ("mean of the noise", noise.mean(), torch.zeros_like(noise.mean()), 5 / math.sqrt(count) + 1e-4)
                 or differ("variance of the noise", noise.var(), torch.ones_like(noise.var()),
                           5 * math.sqrt(2 / count) + 1e-4)
                 or differ("log-prob", log_probs, want, 2e-4 + unit)
                 or (differ("trunk", trunk[0], x - DT * v, 1e-5 + 8 * unit) if trunk else ""))
        return wrong, largest(log_probs, want)


def largest(actual, expected) -> float:
    return (actual.double() - expected).abs().max().item()


def relative(actual, expected) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


def differ(what: str, actual, expected, tolerance: float) -> str:
    error = largest(actual, expected)
    return "" if error <= tolerance else f"{what} is off by {error:.3g}, at most {tolerance:.3g}"  # NaN is off too


class Timer:
    """As timer.hpp."""

    def __init__(self) -> None:
        l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
        self.buffer = torch.empty(max(4 * l2, 256 << 20) // 4, device="cuda")
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * SAMPLES)]

    def between(self, first: int) -> float:
        return 1000 * self.events[first].elapsed_time(self.events[first + 1])

    @staticmethod
    def wait(microseconds: float) -> None:
        torch.cuda._sleep(int(2000 * microseconds))  # cycles, of at most some 2 GHz

    def cold(self, ahead: float, call) -> float:
        for i in range(SAMPLES):
            self.wait(ahead)
            self.buffer.fill_(1)
            torch.sum(self.buffer)
            self.events[2 * i].record()
            call()
            self.events[2 * i + 1].record()
        torch.cuda.synchronize()
        return statistics.median(self.between(2 * i) for i in range(SAMPLES))

    def repeat(self, ahead: float, call) -> float:
        if ahead > 0:
            self.wait(ahead)
        call()
        self.events[0].record()
        for _ in range(CALLS):
            call()
        self.events[1].record()
        torch.cuda.synchronize()
        return self.between(0) / CALLS

    def measure(self, state: str, call, repetitions: int) -> list[float]:
        start = time.perf_counter()
        while True:
            call()
            torch.cuda.synchronize()
            if time.perf_counter() - start > 0.02:
                break
        self.wait(5000)
        start = time.perf_counter()
        call()
        host = 1e6 * (time.perf_counter() - start)
        torch.cuda.synchronize()
        ahead = 200 + 2 * min(host, 20_000.0)
        return [self.cold(ahead, call) if state == "cold" else
                self.repeat(ahead * CALLS if state == "hot" else 0, call) for _ in range(repetitions)]


class Problems:
    """The last problem that was asked for; only one is kept."""

    def __init__(self, device: str) -> None:
        self.device, self.of, self.problem, self.functions = device, None, None, {}

    def memory(self, function) -> int:
        """Bytes that a call takes beside its inputs, at its peak; after calls that compiled what there is to compile."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.problem.call(function)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def get(self, kernel: str, who: str, storage: str, size: str):
        """A call, and what is told with its times."""
        if self.of != (kernel, storage, size):
            self.problem, self.functions = None, {}  # before the next takes memory
            if self.device == "cuda":
                torch.cuda.empty_cache()
            rows, columns = map(int, size.split("x"))
            torch.manual_seed(1)
            self.problem = Problem(kernel, storage, rows, columns, self.device)
            self.of = (kernel, storage, size)
        if who not in self.functions:
            function = self.problem.function()
            if who == "torch_compile":
                torch._dynamo.reset()  # or, after some sizes, it would quietly be eager
                function = torch.compile(function, fullgraph=True, dynamic=False)
            wrong, error = self.problem.compare(function)
            told = {"error64": error} | ({"memory": self.memory(function)} if self.device == "cuda" else {})
            self.functions[who] = function, wrong, told
        function, wrong, told = self.functions[who]
        if wrong:
            raise RuntimeError("wrong answer: " + wrong)
        return lambda: self.problem.call(function), told


def answer(repetitions: int) -> int:
    known, problems, timer = set(names()), Problems("cuda"), Timer()
    print(json.dumps({"context": {"torch": torch.__version__, "CUDA of torch": torch.version.cuda}}), flush=True)
    failed = False
    for line in sys.stdin:
        name = line.strip()
        reply: dict = {"name": name}
        try:
            if name not in known:
                raise RuntimeError("no such measurement; --list has them")
            kernel, who, storage, size, state = name.split("/")
            call, told = problems.get(kernel, who, storage, size)
            reply |= told | {"us": timer.measure(state, call, repetitions)}
        except Exception as problem:  # torch.compile has many; the rest is measured all the same
            failed = True
            reply["error"] = f"{type(problem).__name__}: {problem}".split("\n")[0][:300]
        print(json.dumps(reply), flush=True)
    return 1 if failed else 0


def check() -> int:
    """The formulas, on the CPU."""
    problems, failed = Problems("cpu"), False
    for kernel in [*KERNELS, "group_advantages"]:
        for storage in ["f64"] if kernel == "group_advantages" else ["f32", "bf16"]:
            try:
                _, told = problems.get(kernel, "torch_eager", storage,
                                       "1x64" if kernel == "group_advantages" else "6x4099")
                print(f"{kernel} {storage}: right, error {told['error64']:.1e}")
            except RuntimeError as problem:
                failed = True
                print(f"{kernel} {storage}: {problem}")
    return 1 if failed else 0


def main() -> int:
    head, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=head, epilog=more,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--check", action="store_true", help="check the formulas on the CPU")
    parser.add_argument("--repetitions", type=int, default=9, metavar="N", help="times of each answer (9)")
    chosen = parser.parse_args()
    if chosen.list:
        print(*names(), sep="\n")
        return 0
    if torch is None:
        print(f"skipped: {no_torch}", flush=True)
        return 77
    if chosen.check:
        return check()
    if not torch.cuda.is_available():
        print("skipped: torch has no CUDA device", flush=True)
        return 77
    return answer(chosen.repetitions)


if __name__ == "__main__":
    sys.exit(main())
