# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""Loads the compiled operators (torch.ops.tempflow), and gives them what torch needs in Python: their shapes for
tracing, and the derivative of the loss."""

from pathlib import Path

import torch
import torch.nn.functional as F

from .errors import BackendMemoryError, InvalidValueError, ShapeError


def _load(name: str) -> bool:
    library = next(Path(__file__).parent.glob(f"{name}.*"), None)
    if library is not None:
        torch.ops.load_library(str(library))
    return library is not None


if not _load("tempflow_operators"):
    raise ImportError(f"tempflow: no compiled operators in {Path(__file__).parent}; install the package: pip install ./python")
#: Whether operators take CUDA tensors: the package was built with a CUDA compiler, and so was torch. (No GPU is asked for, which
#: would spoil a fork, and fix CUDA_VISIBLE_DEVICES.)
has_cuda = torch.version.cuda is not None and _load("tempflow_operators_cuda")
ops = torch.ops.tempflow

_NUMBERS_OF_A_ROW = 9  # policy_row
_NUMBERS_OF_SUMS = 8  # row_sums
_FACTORS = 3  # row_factors
_NUMBERS_OF_A_SUMMARY = 13  # policy_statistics; the second is the loss


def _check(operation, batches, tables=(), mask=None):
    """Refuses what the operator refuses: with one meta tensor among its arguments, this is what runs instead of it."""
    first, x = next(iter(batches.items()))
    for name, tensor in batches.items():
        if tensor is not None and tensor.shape[1:] != x.shape[1:]:
            raise ShapeError(f"{operation}: {name} has shape {tuple(tensor.shape)}, whose rows are not like those of {first}, "
                             f"{tuple(x.shape)}")
        if tensor is not None and tensor.device != x.device:
            raise BackendMemoryError(f"{operation}: {name} is on {tensor.device}, {first} on {x.device}")
    if mask is not None and mask.device != x.device:
        raise BackendMemoryError(f"{operation}: mask is on {mask.device}, {first} on {x.device}")
    for tensor in tables:
        if tensor is not None and tensor.device.type != "cpu" and tensor.device != x.device:
            raise BackendMemoryError(f"{operation}: a table is on {tensor.device}, {first} on {x.device}")


def _like(x, rows):
    return x.new_empty((rows, *x.shape[1:]))


def _numbers(x, *shape):
    return x.new_empty(shape, dtype=torch.float64)


def _shapes_of(name):
    """Marks what an operator returns for tensors without elements, by which torch traces it."""
    return torch.library.register_fake(f"tempflow::{name}")


@_shapes_of("fill_noise")
def _(out, ids, seed, update, antithetic, first_element):
    _check("noise", {"out": out}, (ids,))


@_shapes_of("step")
def _(x, v, transitions, ids, seed, update, antithetic, first_element, mask, scored, reduction, terms):
    _check("step", {"x": x, "v": v}, (transitions, ids), mask)
    return _like(x, x.shape[0]), _numbers(x, x.shape[0] if scored else 0)


@_shapes_of("ode_step")
def _(x, v, transitions, mask):
    _check("ode_step", {"x": x, "v": v}, (transitions,), mask)
    return _like(x, x.shape[0])


@_shapes_of("branch_step")
def _(x, v, trunk_transitions, branch_transitions, ids, explorations, seed, update, antithetic, first_element, mask,
      reduction, terms):
    _check("branch_step", {"x": x, "v": v}, (trunk_transitions, branch_transitions, ids), mask)
    rows = x.shape[0]
    return (_like(x, 0 if trunk_transitions is None else rows), _like(x, rows * explorations),
            _numbers(x, rows * explorations))


@_shapes_of("log_prob")
def _(x, v, y, mask, offsets, transitions, reduction, terms):
    _check("log_prob", {"x": x, "v": v, "y": y}, (offsets, transitions), mask)
    return _numbers(x, y.shape[0])


def _gradient(v):
    """fp16 would lose small gradients before a loss scale could help: they are fp32."""
    return torch.empty(v.shape, dtype=torch.float32 if v.dtype == torch.float16 else v.dtype, device=v.device)


@_shapes_of("policy_loss")
def _(v, x, y, v_ref, v_old, mask, offsets, transitions, old_log_probs, advantages, weights, ids, *others):
    _check("policy_loss", {"x": x, "v": v, "y": y, "v_ref": v_ref, "v_old": v_old},
           (offsets, transitions, old_log_probs, advantages, weights, ids), mask)
    count = (y if y is not None else ids if ids is not None else v).shape[0]
    return _numbers(v, _NUMBERS_OF_A_SUMMARY)[1], _gradient(v), _numbers(v, count, _NUMBERS_OF_A_ROW)


@_shapes_of("log_prob_gradient")
def _(v, x, y, mask, offsets, transitions, factors, reduction, terms):
    _check("log_prob_gradient", {"x": x, "v": v, "y": y}, (offsets, transitions, factors), mask)
    return _gradient(v), _numbers(v, y.shape[0], _NUMBERS_OF_A_ROW)


@_shapes_of("policy_sums")
def _(v, x, y, v_ref, v_old, mask, offsets, transitions, mixture):
    _check("policy_sums", {"x": x, "v": v, "y": y, "v_ref": v_ref, "v_old": v_old}, (offsets, transitions), mask)
    return _numbers(v, y.shape[0], _NUMBERS_OF_SUMS)


@_shapes_of("policy_scores")
def _(sums, *others):
    return _numbers(sums, sums.shape[0], _NUMBERS_OF_A_ROW), _numbers(sums, sums.shape[0], _FACTORS)


@_shapes_of("policy_gradient")
def _(v, x, y, v_ref, v_old, mask, offsets, transitions, factors):
    _check("policy_gradient", {"x": x, "v": v, "y": y, "v_ref": v_ref, "v_old": v_old}, (offsets, transitions, factors), mask)
    return _gradient(v)


@_shapes_of("guide")
def _(conditional, unconditional, scale, channels):
    _check("guide", {"conditional": conditional, "unconditional": unconditional}, (scale,))
    return _like(conditional, conditional.shape[0])


@_shapes_of("guide_gradient")
def _(gradient, conditional, unconditional, scale, channels, of_conditional, of_unconditional):
    _check("guide_gradient", {"gradient": gradient, "conditional": conditional, "unconditional": unconditional}, (scale,))
    rows = gradient.shape[0]
    return _like(gradient, rows * of_conditional), _like(gradient, rows * of_unconditional)


@_shapes_of("clipped_surrogate")
def _(log_probs, old_log_probs, advantages, weights, *others):
    _check("clipped_surrogate", {"log_probs": log_probs, "old_log_probs": old_log_probs, "advantages": advantages,
                                 "weights": weights})
    return torch.empty_like(log_probs), torch.empty_like(log_probs)


@_shapes_of("policy_statistics")
def _(rows, kl_beta, mean_over):
    return _numbers(rows, _NUMBERS_OF_A_SUMMARY)


@_shapes_of("group_advantages")
def _(rewards, groups, *options):
    _check("group_advantages", {"rewards": rewards, "groups": groups})
    excluded = torch.library.get_ctx().new_dynamic_size()
    return torch.empty_like(rewards), groups.new_empty(excluded), _numbers(rewards, 11)


@_shapes_of("ema_update")
def _(average, weights, decay):
    _check("ema_update", {"average": average, "weights": weights})


def _once(backward):
    """A gradient is a constant to autograd, and its own derivative would be left out. (torch's once_differentiable looks at the
    upstream gradient alone, which is a constant too in loss.backward().)"""

    def call(ctx, *upstream):
        if torch.is_grad_enabled():
            raise InvalidValueError("tempflow: create_graph=True; policy_loss, log_prob, clipped_loss and guided are differentiable "
                                    "once")
        return backward(ctx, *upstream)

    return call


def _save_gradient(ctx, inputs, output):
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.set_materialize_grads(False)  # zeros as large as the gradient, that nothing reads
    ctx.dtype, ctx.inputs = inputs[0].dtype, len(inputs)


def _is_one(upstream) -> bool:
    """Whether there is nothing to scale, which saves a pass; not asked of a GPU, which would wait."""
    if type(upstream) is not torch.Tensor or torch.compiler.is_compiling() or upstream.is_cuda:
        return False
    try:
        return upstream.item() == 1
    except RuntimeError:  # one of many (is_grads_batched)
        return False


def _scaled(gradient, upstream, dtype):
    """gradient upstream, in float32 at least: in 16 bits the factor would be rounded."""
    factor = upstream.to(torch.promote_types(gradient.dtype, torch.float32)).reshape([1] * gradient.dim())
    if not torch.compiler.is_compiling():
        try:
            return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))  # one pass
        except RuntimeError:  # one of many
            pass
    return (gradient * factor).to(dtype)


@_once
def _hand_gradient(ctx, upstream, *_):
    if upstream is None:
        return (None,) * ctx.inputs
    (gradient,) = ctx.saved_tensors
    gradient = gradient.to(ctx.dtype) if _is_one(upstream) else _scaled(gradient, upstream, ctx.dtype)
    return (gradient,) + (None,) * (ctx.inputs - 1)


torch.library.register_autograd("tempflow::policy_loss", _hand_gradient, setup_context=_save_gradient)


class _PolicyLoss(torch.autograd.Function):
    """What is registered, but not by way of torch.library, which takes a third of a millisecond for as many arguments."""

    @staticmethod
    def forward(ctx, *inputs):
        output = ops.policy_loss(*inputs)
        _save_gradient(ctx, inputs, output)
        return output

    backward = staticmethod(_hand_gradient)


def policy_loss(*inputs):
    """ops.policy_loss."""
    return ops.policy_loss(*inputs) if torch.compiler.is_compiling() else _PolicyLoss.apply(*inputs)


def _save_row_factors(ctx, inputs, output):
    *tensors, ctx.reduction, ctx.terms = inputs
    ctx.save_for_backward(*tensors)


@_once
def _gradient_of_log_prob(ctx, upstream):
    x, v, y, mask, offsets, transitions = ctx.saved_tensors
    factors = upstream.to(torch.float64).contiguous()
    known = factors.isfinite()
    gradient, rows = ops.log_prob_gradient(v.detach(), x, y, mask, offsets, transitions, factors.where(known, 0.0), ctx.reduction,
                                           ctx.terms)
    # The operator leaves out rows that are not finite; autograd has to show them, to a loss scaler for one.
    lost = ~(known & rows[:, 0].isfinite())
    if offsets is not None:
        lost = F.pad(lost.cumsum(0), (1, 0))[offsets.to(lost.device)].diff() > 0
    gradient = gradient.masked_fill(lost.reshape(-1, *[1] * (v.dim() - 1)), float("nan"))
    return None, gradient.to(v.dtype), None, None, None, None, None, None


torch.library.register_autograd("tempflow::log_prob", _gradient_of_log_prob, setup_context=_save_row_factors)


def _save_slopes(ctx, inputs, output):
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


@_once
def _slopes(ctx, upstream, _):
    return (None if upstream is None else upstream * ctx.saved_tensors[0],) + (None,) * 6


torch.library.register_autograd("tempflow::clipped_surrogate", _slopes, setup_context=_save_slopes)


def _save_predictions(ctx, inputs, output):
    conditional, unconditional, scale, ctx.channels = inputs
    ctx.save_for_backward(scale, *((conditional, unconditional) if ctx.channels else ()))


@_once
def _gradient_of_guidance(ctx, upstream):
    scale, *predictions = ctx.saved_tensors
    conditional, unconditional = predictions or (None, None)
    of_conditional, of_unconditional = ctx.needs_input_grad[:2]
    first, second = ops.guide_gradient(upstream, conditional, unconditional, scale, ctx.channels, of_conditional,
                                       of_unconditional)
    return first if of_conditional else None, second if of_unconditional else None, None, None


torch.library.register_autograd("tempflow::guide", _gradient_of_guidance, setup_context=_save_predictions)
