"""Dynamic batch normalisation from sums and affine maps, with the backward in closed form.

The forward is one pass for the statistics and one for an affine map, with the activation behind
it; the backward is one pass for two sums and one for an affine map of dy and x. What lies between
two passes is in ``sc_aten``. x and O(N C) numbers are kept for the backward: where the activation
passes a gradient is seen from x.
"""

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import sc as sc_aten
from .activation import Gate
from .precision import to_dense, without_autocast
from .recompute import offer_recomputation
from .sync import merge_moments, sum_over

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


__all__ = ['ClosedFormBatchNorm', 'Options']


class Options(NamedTuple):
    """What is no tensor.

    Attributes:
        eps (float): Added to the variance.
        normalized (bool): Whether the SC-Module sees the normalised means.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        bounds (tuple[float, float], optional): Of the activation.
        recompute (bool): Keep no output for the backward.
        group (ProcessGroup, optional): Its processes share the statistics of the batch.
    """

    eps: float
    normalized: bool
    detach_gap: bool
    bounds: tuple[float, float] | None
    recompute: bool
    group: 'ProcessGroup | None' = None


class ClosedFormBatchNorm(torch.autograd.Function):
    """Output, mean, biased variance, scale, shift and count; all but the first not differentiable.

    ``kernels`` is the module whose sums and maps are used: ``aten``, ``cpp`` or ``triton``. All
    tensors but x are of one dtype, float32 or, with ``aten``, float64. ``mean`` and ``var`` are
    given where statistics are frozen, and None where they are to be those of the batch. Where
    processes share them, the count is that of all, as a tensor, and otherwise None.
    """

    @staticmethod
    def forward(
        ctx,
        kernels: ModuleType,
        x: Tensor,
        fc1_weight: Tensor,
        fc1_bias: Tensor,
        fc2_weight: Tensor,
        alpha_offset: Tensor,
        lambda_offset: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        options: Options,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Arguments and shapes as in :func:`dn_mmdet.ops.functional`."""
        ctx.kernels, ctx.options = kernels, options
        work = kernels.widen(to_dense(x), fc1_weight.dtype)
        ctx.training, count = mean is None, None
        if ctx.training:
            means, mean, var = kernels.plane_moments(work)
            if options.group is not None:
                mean, var, count = merge_moments(mean, var, x.shape, options.group)
        else:
            # Copies, since the running statistics may change before the backward.
            means, mean, var = kernels.plane_means(work), mean.clone(), var.clone()
        weights = fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset
        rstd, hidden, scale, shift = kernels.sc_forward(
            means, mean, var, *weights, options.eps, options.normalized
        )
        y = kernels.plane_affine(work, scale, shift, options.bounds).to(x.dtype)
        if options.recompute:
            # Before anything is saved, or else it would keep the output as well.
            offer_recomputation(y, x, partial(_affine, kernels, scale, shift, options.bounds))
        ctx.save_for_backward(
            x, fc1_weight, fc2_weight, means, mean, rstd, hidden, scale,
            shift if options.bounds else None,
            y if options.bounds and kernels.GATES_FROM_OUTPUT else None, count,
        )  # fmt: skip
        ctx.mark_non_differentiable(mean, var, scale, shift, *([] if count is None else [count]))
        return y, mean, var, scale, shift, count

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the parameters and the offsets from the gradient of the output."""
        with without_autocast(dy):
            return _backward(ctx, dy)


def _affine(
    kernels: ModuleType,
    scale: Tensor,
    shift: Tensor,
    bounds: tuple[float, float] | None,
    x: Tensor,
) -> Tensor:
    work = kernels.widen(to_dense(x), scale.dtype)
    with torch.no_grad(), without_autocast(x):
        return kernels.plane_affine(work, scale, shift, bounds).to(x.dtype)


def _backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
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
    sums, products = kernels.plane_products(dy, work, mean, gate)
    sc_backward = kernels.sc_backward
    if count is not None and ctx.needs_input_grad[1]:
        # The gradient of x alone wants the sums over all processes.
        sc_backward = partial(sc_aten.sc_backward, reduce=partial(sum_over, group=options.group))
    else:
        count = n * h * w if ctx.training else 0
    gradients = sc_backward(
        sums, products, means, mean, rstd, hidden, scale, fc1_weight, fc2_weight,
        h * w, count, options.normalized, options.detach_gap,
    )  # fmt: skip
    dx = None
    if ctx.needs_input_grad[1]:
        slope = gradients.slope if ctx.training or gate else None
        dx = kernels.plane_gradient(dy, work, scale, slope, gradients.offset, gate).to(x.dtype)
    needed = ctx.needs_input_grad[2:7]
    parameters = (
        gradient if needs else None for gradient, needs in zip(gradients[:5], needed, strict=True)
    )
    return None, dx, *parameters, None, None, None
