# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the compiled operators (torch.ops.tempflow), and gives them what torch needs in Python: their shapes for
tracing, and the derivative of the loss."""

from pathlib import Path

import torch

_library = next(Path(__file__).parent.glob("tempflow_operators.*"), None)
if _library is None:
    raise ImportError(f"tempflow: no compiled operators in {Path(__file__).parent}; install the package: pip install ./python")
torch.ops.load_library(str(_library))
ops = torch.ops.tempflow

_NUMBERS_OF_A_ROW = 9  # policy_row


def _like(x, rows):
    return x.new_empty((rows, *x.shape[1:]))


def _numbers(x, *shape):
    return x.new_empty(shape, dtype=torch.float64, device="cpu")


@torch.library.register_fake("tempflow::noise")
def _(ids, seed, update, shape, dtype, antithetic):
    return ids.new_empty((ids.shape[0], *shape), dtype=dtype)


@torch.library.register_fake("tempflow::step")
def _(x, v, transitions, ids, seed, update, antithetic, scored, reduction, terms):
    return _like(x, x.shape[0]), _numbers(x, x.shape[0] if scored else 0)


@torch.library.register_fake("tempflow::ode_step")
def _(x, v, transitions):
    return _like(x, x.shape[0])


@torch.library.register_fake("tempflow::branch_step")
def _(x, v, trunk_transitions, branch_transitions, ids, explorations, seed, update, antithetic, reduction, terms):
    rows = x.shape[0]
    return (_like(x, 0 if trunk_transitions is None else rows), _like(x, rows * explorations),
            _numbers(x, rows * explorations))


@torch.library.register_fake("tempflow::log_prob")
def _(x, v, y, offsets, transitions, reduction, terms):
    return _numbers(x, y.shape[0])


def _gradient(v):
    """fp16 would lose small gradients before a loss scale could help: they are fp32."""
    return torch.empty(v.shape, dtype=torch.float32 if v.dtype == torch.float16 else v.dtype, device=v.device)


@torch.library.register_fake("tempflow::policy_loss")
def _(v, x, y, v_ref, offsets, transitions, old_log_probs, *others):
    return _numbers(v), _gradient(v), _numbers(v, old_log_probs.shape[0], _NUMBERS_OF_A_ROW)


@torch.library.register_fake("tempflow::log_prob_gradient")
def _(v, x, y, offsets, transitions, factors, reduction, terms):
    return _gradient(v), _numbers(v, y.shape[0], _NUMBERS_OF_A_ROW)


@torch.library.register_fake("tempflow::clipped_surrogate")
def _(log_probs, *others):
    return torch.empty_like(log_probs), torch.empty_like(log_probs)


@torch.library.register_fake("tempflow::policy_statistics")
def _(rows, kl_beta, mean_over):
    return _numbers(rows, 13)


@torch.library.register_fake("tempflow::group_advantages")
def _(rewards, groups, *options):
    excluded = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(rewards), groups.new_empty(excluded), _numbers(rewards, 11)


@torch.library.register_fake("tempflow::ema_update")
def _(average, weights, decay):
    return None


def _save_gradient(ctx, inputs, output):
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.set_materialize_grads(False)  # zeros as large as the gradient, that nothing reads
    ctx.dtype = inputs[0].dtype


def _hand_gradient(ctx, upstream, *_):
    if upstream is None:
        return (None,) * 22
    (gradient,) = ctx.saved_tensors
    traced = type(upstream) is not torch.Tensor or torch.compiler.is_compiling()  # it has no value yet
    if traced or upstream.item() != 1:
        gradient = gradient * upstream.to(gradient.dtype)
    return (gradient.to(ctx.dtype),) + (None,) * 21


torch.library.register_autograd("tempflow::policy_loss", _hand_gradient, setup_context=_save_gradient)


def _save_row_factors(ctx, inputs, output):
    x, v, y, offsets, transitions, ctx.reduction, ctx.terms = inputs
    ctx.save_for_backward(x, v, y, transitions)
    ctx.offsets = offsets


def _gradient_of_log_prob(ctx, upstream):
    x, v, y, transitions = ctx.saved_tensors
    gradient, _ = ops.log_prob_gradient(v.detach(), x, y, ctx.offsets, transitions, upstream.to(torch.float64).contiguous(),
                                        ctx.reduction, ctx.terms)
    return None, gradient.to(v.dtype), None, None, None, None, None


torch.library.register_autograd("tempflow::log_prob", _gradient_of_log_prob, setup_context=_save_row_factors)


def _save_slopes(ctx, inputs, output):
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _slopes(ctx, upstream, _):
    return (None if upstream is None else upstream * ctx.saved_tensors[0],) + (None,) * 6


torch.library.register_autograd("tempflow::clipped_surrogate", _slopes, setup_context=_save_slopes)
