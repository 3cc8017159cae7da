"""Dynamic batch normalization from sums and affine maps, with the backward in closed form.

The forward is one pass for the statistics and one for an affine map, with the activation behind
it; the backward is one pass for two sums and one for an affine map of dy and x. The passes are
those of a backend, :class:`.backends.kernels.Kernels`, and what lies between two of them is in
:mod:`.sc`. x and O(N C) numbers are kept for the backward: where the activation passes a gradient
is seen from x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ..utils.python39 import zip_strict
from .activation import Gate
from .backends.kernels import Kernels, RunningStatistics
from .precision import to_dense, without_autocast
from .recompute import offer_recomputation
from .sc import SCForm, SCWeights, sc_backward
from .sync import merge_moments, sum_over, update_running_statistics

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['ClosedFormBatchNorm', 'Options', 'train']


class Options(NamedTuple):
    """What is not a tensor.

    Attributes:
        eps (float): Added to the variance.
        form (SCForm): How the weights of the SC-Module enter.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        bounds (tuple[float, float], optional): Of the activation.
        recompute (bool): Keep no output for the backward.
        group (ProcessGroup, optional): Its processes share the statistics of the batch.
        running (RunningStatistics, optional): Moved in training by kernels that fuse; no others
            are given them.
    """

    eps: float
    form: SCForm
    detach_gap: bool
    bounds: tuple[float, float] | None
    recompute: bool
    group: ProcessGroup | None = None
    running: RunningStatistics | None = None


class ClosedFormBatchNorm(torch.autograd.Function):
    """Output, mean, biased variance, scale, shift and count; all but the first not differentiable.

    All tensors but x are of one dtype, float32 or, with ``aten``, float64. ``mean`` and ``var``
    are given where statistics are frozen, and None where they are to be those of the batch. Where
    processes share them, the count is that of all, as a tensor, and otherwise None.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        kernels: Kernels,
        options: Options,
        mean: Tensor | None,
        var: Tensor | None,
        x: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Run the layer.

        Args:
            ctx (FunctionCtx): Of autograd.
            kernels (Kernels): Whose sums and maps are used.
            options (Options): What is not a tensor.
            mean (Tensor, optional): Shape (C,).
            var (Tensor, optional): Biased, shape (C,).
            x (Tensor): Shape (N, C, H, W).
            *weights (Tensor): Those of :class:`SCWeights`; autograd sees no tensors in a tuple.
        """
        ctx.kernels, ctx.options = kernels, options
        weights = SCWeights._make(weights)
        work = kernels.widen(to_dense(x), weights.fc1_weight.dtype)
        ctx.training, count = mean is None, None
        ctx.fused = kernels.FUSES and options.group is None
        if not ctx.training:
            # Copies, since the running statistics may change before the backward.
            mean, var = mean.clone(), var.clone()
        if ctx.fused:
            y, means, mean, var, rstd, hidden, scale, shift = kernels.fused_forward(
                work, mean, var, weights, options.eps, options.form, options.bounds,
                options.running,
            )  # fmt: skip
        else:
            if ctx.training:
                means, mean, var = kernels.plane_moments(work)
                if options.group is not None:
                    mean, var, count = merge_moments(mean, var, x.shape, options.group)
            else:
                means = kernels.plane_means(work)
            rstd, hidden, scale, shift = kernels.sc_forward(
                means, mean, var, weights, options.eps, options.form
            )
            y = kernels.plane_affine(work, scale, shift, options.bounds).to(x.dtype)
        if options.recompute:
            # Before anything is saved, or else it would keep the output as well.
            offer_recomputation(y, x, partial(_affine, kernels, scale, shift, options.bounds))
        ctx.save_for_backward(
            x, weights.fc1_weight, weights.fc2_weight, means, mean, rstd, hidden, scale,
            shift if options.bounds else None,
            y if options.bounds and kernels.GATES_FROM_OUTPUT else None, count,
        )  # fmt: skip
        ctx.mark_non_differentiable(mean, var, scale, shift, *([] if count is None else [count]))
        return y, mean, var, scale, shift, count

    @staticmethod
    def backward(ctx: FunctionCtx, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and of the weights from the gradient of the output."""
        with torch.no_grad(), without_autocast(dy):
            gradients = _backward(ctx, dy)
        # With create_graph=True somebody may want to differentiate them.
        return _refuse_derivative(gradients, dy, ctx) if torch.is_grad_enabled() else gradients


def train(
    kernels: Kernels,
    options: Options,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    run: Callable[[Options], tuple[Tensor | None, ...]],
) -> Tensor:
    """The layer with the statistics of its batch, toward which it moves the running ones.

    Args:
        kernels (Kernels): That run.
        options (Options): Without running statistics.
        running_mean (Tensor, optional): Shape (C,).
        running_var (Tensor, optional): Unbiased, shape (C,).
        momentum (float): Weight of the batch.
        run (Callable): Does :meth:`ClosedFormBatchNorm.forward` with options.

    Returns:
        Tensor: The output.
    """
    if running_mean is None:
        return run(options)[0]
    running = RunningStatistics(running_mean, running_var, momentum)
    fused = (
        kernels.FUSES
        and options.group is None
        and all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in running[:2])
    )
    if fused:
        y = run(options._replace(running=running))[0]
        for tensor in running[:2]:
            # What a graph of evaluation has kept of them is no more what it was.
            if not tensor.is_inference():
                torch.autograd.graph.increment_version(tensor)
        return y
    y, mean, var, _, _, count = run(options)
    count = y.numel() // y.shape[1] if count is None else count
    update_running_statistics(running_mean, running_var, mean, var, count, momentum)
    return y


class _Underivable(torch.autograd.Function):
    """The first tensors as they are; their derivative is an error that says what to do.

    ``once_differentiable`` of torch says what is wrong alone, and lets gradients that depend on
    nothing but x and the weights, as those of ``y.sum()``, pass as constants.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: FunctionCtx, *_: Tensor) -> None:
        raise RuntimeError(
            "DN-B's fast paths cannot be differentiated twice, as a gradient penalty demands: run "
            "the forward pass inside `with dn_mmdet.ops.use_path('reference'):`, or set the "
            'environment variable DN_MMDET_OPS=reference.'
        )


def _refuse_derivative(
    gradients: tuple[Tensor | None, ...], dy: Tensor, ctx: FunctionCtx
) -> tuple[Tensor | None, ...]:
    x, fc1_weight, fc2_weight, *_ = ctx.saved_tensors
    some = [gradient for gradient in gradients if gradient is not None]
    # Whatever is asked for, the way to it leads through here; the last one makes sure that there
    # is such a way where, of the weights, only those that were not saved are trained.
    sources = dy, x, fc1_weight, fc2_weight, torch.empty(0, requires_grad=True)
    refusing = iter(_Underivable.apply(len(some), *some, *sources))
    return tuple(None if gradient is None else next(refusing) for gradient in gradients)


def _affine(
    kernels: Kernels,
    scale: Tensor,
    shift: Tensor,
    bounds: tuple[float, float] | None,
    x: Tensor,
) -> Tensor:
    work = kernels.widen(to_dense(x), scale.dtype)
    with torch.no_grad(), without_autocast(x):
        return kernels.plane_affine(work, scale, shift, bounds).to(x.dtype)


def _backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, fc1_weight, fc2_weight, means, mean, rstd, hidden, scale, shift, y, count = ctx.saved_tensors
    kernels, options = ctx.kernels, ctx.options
    n, c, h, w = x.shape
    work = kernels.widen(to_dense(x), mean.dtype)
    dy = kernels.widen(to_dense(dy, like=work), mean.dtype)
    gate = None
    if options.bounds:
        gate = Gate(scale, shift, options.bounds)
        if kernels.GATES_FROM_OUTPUT:
            dy, gate = kernels.gated(dy, y, options.bounds), None
    x_needs, *weights_need = ctx.needs_input_grad[4:]
    backward = kernels.sc_backward
    if count is not None and x_needs:
        # The gradient of x alone wants the sums over all processes.
        backward = partial(sc_backward, reduce=partial(sum_over, group=options.group))
    else:
        count = n * h * w if ctx.training else 0
    numbers = means, mean, rstd, hidden, scale, fc1_weight, fc2_weight
    if ctx.fused:
        gradients = kernels.fused_gradients(
            dy, work, *numbers, count, options.form, options.detach_gap, gate
        )
    else:
        sums, products = kernels.plane_products(dy, work, mean, gate)
        gradients = backward(
            sums, products, *numbers, h * w, count, options.form, options.detach_gap
        )
    dx = None
    if x_needs:
        slope = gradients.slope if ctx.training or gate else None
        dx = kernels.plane_gradient(dy, work, scale, slope, gradients.offset, gate).to(x.dtype)
    dweights = (
        gradient if needs else None for gradient, needs in zip_strict(gradients[:5], weights_need)
    )
    return None, None, None, None, dx, *dweights
