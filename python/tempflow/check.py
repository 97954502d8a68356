# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What is installed, and whether it works: python -m tempflow.check"""

import math
import sys

import torch

import tempflow
from tempflow._operators import has_cuda, ops


def self_test(device: str = "cpu") -> list[str]:
    """What does not hold of what the package promises; nothing, if all does."""
    chain = tempflow.make_chain(tempflow.sigmas("sd3", 4))
    ids = torch.tensor([[prompt, 0, 1, 0] for prompt in range(3)])
    x, v = (tempflow.noise(ids, (4, 5), (key, 0), device=device) for key in (1, 2))
    y, drawn = tempflow.step(x, v, chain[1], ids, (3, 0))
    problems = []
    if not torch.equal(drawn, tempflow.log_prob(x, v, y, chain[1])):
        problems.append("log_prob does not give the bits of step")
    if device != "cpu" and not torch.equal(y.cpu(), tempflow.step(x.cpu(), v.cpu(), chain[1], ids, (3, 0))[0]):
        problems.append("states have other bits than on the CPU")
    alpha, beta, std = chain[1][:3].tolist()
    z = (y.double() - alpha * x.double() - beta * v.double()) / std
    expected = -(z**2).flatten(1).mean(1) / 2 - math.log(std) - math.log(2 * math.pi) / 2
    if not torch.allclose(drawn, expected, atol=1e-5):
        problems.append(f"log-probs {drawn.tolist()}, by the formula {expected.tolist()}")
    velocity = v.clone().requires_grad_()
    loss, rows = tempflow.policy_loss_rows(velocity, x, y, chain[1], drawn, torch.tensor([1.0, -1.0, 0.5]).double())
    loss.backward()
    if rows[:, 1].abs().max() != 0:
        problems.append("on policy the log-ratio is not 0")
    factors = torch.tensor([-1.0, 1.0, -0.5]).double() / 3
    gradient, _ = ops.log_prob_gradient(v, x, y, None, None, chain[1], factors, "mean", "all")
    if not torch.allclose(velocity.grad, gradient, rtol=1e-5):
        problems.append("the loss's gradient is not that of its log-probs")
    return problems


def main() -> None:
    print(tempflow.config_summary(), end="")
    on_gpu = has_cuda and torch.cuda.is_available()
    problems = self_test()
    try:
        problems += [f"on the GPU: {problem}" for problem in self_test("cuda")] if on_gpu else []
    except tempflow.TempflowError as error:  # kernels for other GPUs, or a driver that is too old
        problems.append(f"on the GPU: {error}")
    print("self-test: " + ("passed" if not problems else "FAILED"))
    for problem in problems:
        print(f"  {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
