"""Dynamic batch normalisation from sums and affine maps, with the backward in closed form.

The forward is one pass for the statistics and one for an affine map; x and O(N C) numbers are
kept for the backward. With S = H W, M = N S, r = (var + eps)^-1/2, mu the mean and dg the gradient
of the pooled input:

    S1 = sum dy,  S2 = r sum dy (x - mu)              over the S places of a sample and channel
    d lambda = S1,  d alpha = S2
    T1 = sum_n alpha S1,  T2 = sum_n alpha S2         0 with frozen statistics
    dx = P dy + Q x + R
    P = alpha r,  Q = -r^2 T2 / M,  R = dg / S - r T1 / M - Q mu

Where the SC-Module sees (g - mu) r instead of g, its gradient reaches mu and r as well: dg is
replaced by r dg, and T1 and T2 grow by sum_n dg and sum_n dg (g - mu) r.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .planes import to_dense
from .precision import without_autocast
from .scale_shift import grouped_linear

__all__ = ['ClosedFormBatchNorm']


class ClosedFormBatchNorm(torch.autograd.Function):
    """Output, mean and biased variance; the last two are not differentiable.

    ``kernels`` is the module whose sums and maps are used: ``planes``, of ATen's kernels, or
    ``cpp``. All tensors but x are of one dtype, float32 or, with ``planes``, float64. ``mean``
    and ``var`` are given where statistics are frozen, and None where they are to be those of the
    batch.
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
        eps: float,
        sc_input: str,
        detach_gap: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Arguments and shapes as in :func:`dn_mmdet.ops.dynamic_batch_norm`."""
        ctx.kernels = kernels
        work = kernels.widen(to_dense(x), fc1_weight.dtype)
        ctx.training = mean is None
        if ctx.training:
            means, mean, var = kernels.plane_moments(work)
        else:
            # Copies, since the running statistics may change before the backward.
            means, mean, var = kernels.plane_means(work), mean.clone(), var.clone()
        rstd = torch.rsqrt(var + eps)
        ctx.normalized, ctx.detach_gap = sc_input == 'normalized', detach_gap
        context = (means - mean) * rstd if ctx.normalized else means
        hidden = F.linear(context, fc1_weight, fc1_bias).sigmoid_()
        ctx.groups = fc1_weight.shape[0] // fc2_weight.shape[1]
        delta = grouped_linear(hidden, fc2_weight, ctx.groups)
        alpha, shift = delta.chunk(2, dim=1)
        alpha = alpha + alpha_offset
        scale = alpha * rstd
        shift = (shift + lambda_offset).addcmul_(scale, mean, value=-1)
        y = kernels.plane_affine(work, scale, shift)
        ctx.save_for_backward(x, fc1_weight, fc2_weight, mean, rstd, alpha, context, hidden)
        ctx.mark_non_differentiable(mean, var)
        return y.to(x.dtype), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, the parameters and the offsets from the gradient of the output."""
        with without_autocast(dy):
            return _backward(ctx, dy)


def _backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, fc1_weight, fc2_weight, mean, rstd, alpha, context, hidden = ctx.saved_tensors
    n, c, h, w = x.shape
    work = ctx.kernels.widen(to_dense(x), mean.dtype)
    dy = ctx.kernels.widen(to_dense(dy, like=work), mean.dtype)

    dshift, dalpha = ctx.kernels.plane_products(dy, work, mean)
    dalpha *= rstd
    ddelta = torch.cat((dalpha, dshift), dim=1)
    dhidden, dfc2_weight = _grouped_linear_backward(ddelta, hidden, fc2_weight, ctx.groups)
    dlogit = dhidden * (hidden - hidden * hidden)
    dx = None
    if ctx.needs_input_grad[1]:
        dcontext = None if ctx.detach_gap else dlogit @ fc1_weight
        dx = _input_gradient(ctx, dy, work, dcontext, ddelta, mean, rstd, alpha, context)
        dx = dx.to(x.dtype)
    return (
        None,
        dx,
        dlogit.t() @ context,
        dlogit.sum(0),
        dfc2_weight,
        dalpha.sum(0) if ctx.needs_input_grad[5] else None,
        dshift.sum(0) if ctx.needs_input_grad[6] else None,
        *(None,) * 5,
    )


def _input_gradient(
    ctx,
    dy: Tensor,
    x: Tensor,
    dcontext: Tensor | None,
    ddelta: Tensor,
    mean: Tensor,
    rstd: Tensor,
    alpha: Tensor,
    context: Tensor,
) -> Tensor:
    n, c, h, w = x.shape
    shift = torch.zeros_like(alpha)
    if dcontext is not None:
        shift = dcontext * (rstd / (h * w) if ctx.normalized else 1 / (h * w))
    if not ctx.training:
        return ctx.kernels.plane_affine(dy, alpha * rstd, shift)
    t2, t1 = (ddelta.view(n, 2, c) * alpha[:, None]).sum(0)
    if dcontext is not None and ctx.normalized:
        t1 = t1 + dcontext.sum(0)
        t2 = t2 + (dcontext * context).sum(0)
    count = n * h * w
    slope = rstd * rstd * t2 / -count
    shift = shift - (rstd * t1 / count).addcmul_(slope, mean)
    return ctx.kernels.plane_gradient(dy, x, alpha * rstd, slope, shift)


def _grouped_linear_backward(
    dout: Tensor, hidden: Tensor, weight: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the hidden numbers and of the weight."""
    if groups == 1:
        return dout @ weight, dout.t() @ hidden
    n, inputs = len(hidden), weight.shape[1]
    dout = dout.view(n, groups, -1)
    hidden = hidden.view(n, groups, inputs)
    if inputs == 1:
        dweight = (dout * hidden).sum(0).view_as(weight)
        return (dout * weight.view(groups, -1)).sum(2), dweight
    weights = weight.view(groups, -1, inputs)
    dhidden = torch.einsum('ngo,goi->ngi', dout, weights).reshape(n, -1)
    return dhidden, torch.einsum('ngo,ngi->goi', dout, hidden).reshape_as(weight)
