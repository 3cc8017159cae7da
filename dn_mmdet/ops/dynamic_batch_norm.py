"""The one entry to every implementation of dynamic batch normalisation."""

from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from . import aten, cpp
from .activation import bounds_of
from .closed_form import ClosedFormBatchNorm
from .dispatch import choose_path
from .layout import to_dense
from .options import Options
from .precision import cast, compute_dtype, without_autocast
from .recompute import is_recomputing, offer_recomputation
from .reference import reference_dynamic_batch_norm

__all__ = ['dynamic_batch_norm']


def dynamic_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    fc1_weight: Tensor,
    fc1_bias: Tensor,
    fc2_weight: Tensor,
    alpha_offset: Tensor,
    lambda_offset: Tensor,
    *,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    sc_input: str = 'raw',
    detach_gap: bool = False,
    activation: str | None = None,
) -> Tensor:
    """Batch normalisation with scale and shift from the SC-Module (equations 6 and 7).

    ``Y = (X - E[X]) / sqrt(Var[X] + eps) * alpha + lambda`` with
    ``alpha, lambda = offsets + split(W2 sigmoid(W1 g + b1))`` and g the spatial mean of X.

    Statistics and SC-Module are computed in float32, or float64 where x or the parameters are,
    also under autocast. Only the 'reference' path has a second derivative: where that is needed,
    call inside ``use_path('reference')``. Arguments are checked by the layers, not here.

    Args:
        x (Tensor): Shape (N, C, H, W), of a floating-point dtype.
        running_mean (Tensor, optional): Shape (C,); updated in place in training.
        running_var (Tensor, optional): Shape (C,), unbiased; updated in place in training.
        fc1_weight (Tensor): W1, shape (H, C).
        fc1_bias (Tensor): b1, shape (H,).
        fc2_weight (Tensor): W2, shape (2C, g), in H // g groups.
        alpha_offset (Tensor): Shape (C,).
        lambda_offset (Tensor): Shape (C,).
        training (bool): Take the statistics of the batch, not the running ones.
        momentum (float): Weight of the batch in the running statistics. Defaults to 0.1.
        eps (float): Added to the variance. Defaults to 1e-5.
        sc_input (str): 'raw' for g, 'normalized' for ``(g - E[X]) / sqrt(Var[X] + eps)``.
            Defaults to 'raw'.
        detach_gap (bool): Stop the gradient at the input of the SC-Module. Defaults to False.
        activation (str, optional): 'ReLU' or 'ReLU6' of the output, in the same pass; where it
            passes the gradient is seen from x. Inside ``recompute_outputs`` no later operation
            keeps the output either. Defaults to None.

    Returns:
        Tensor: Shape, dtype and memory format of x.

    Raises:
        ValueError: There is no such activation.
    """
    bounds_of(activation)
    dtype = compute_dtype(torch.promote_types(x.dtype, alpha_offset.dtype))
    parameters = [
        cast(tensor, dtype)
        for tensor in (fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset)
    ]
    path = choose_path(x)
    if path == 'aten':
        run = partial(_run_closed_form, aten)
    elif path == 'cpp' and dtype == torch.float32:
        run = partial(_run_closed_form, cpp)
    else:
        run = _run_reference
    with without_autocast(x):
        return run(
            x,
            running_mean,
            running_var,
            parameters,
            training=training,
            momentum=momentum,
            eps=eps,
            sc_input=sc_input,
            detach_gap=detach_gap,
            activation=activation,
        )


def _run_closed_form(
    kernels: ModuleType,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    parameters: list[Tensor],
    *,
    training: bool,
    momentum: float,
    eps: float,
    sc_input: str,
    detach_gap: bool,
    activation: str | None,
) -> Tensor:
    recompute = is_recomputing()
    options = Options(eps, sc_input == 'normalized', detach_gap, bounds_of(activation), recompute)
    frozen = (None, None)
    if not training:
        frozen = tuple(cast(buffer, parameters[0].dtype) for buffer in (running_mean, running_var))
        if kernels.EVALUATES and not _needs_gradient(x, *parameters):
            return kernels.evaluate(to_dense(x), *frozen, *parameters, options)
    y, mean, var, scale, shift = ClosedFormBatchNorm.apply(
        kernels, x, *parameters, *frozen, options
    )
    if recompute and y.requires_grad:
        offer_recomputation(
            y, partial(_affine, kernels, x.detach(), scale, shift, options.bounds)
        )
    if training and running_mean is not None:
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(cast(mean, running_mean.dtype), momentum)
            running_var.lerp_(cast(var * (count / (count - 1)), running_var.dtype), momentum)
    return y


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _affine(
    kernels: ModuleType,
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    bounds: tuple[float, float] | None,
) -> Tensor:
    work = kernels.widen(to_dense(x), scale.dtype)
    with torch.no_grad(), without_autocast(x):
        return kernels.plane_affine(work, scale, shift, bounds).to(x.dtype)


def _run_reference(x, running_mean, running_var, parameters, *, training, **options):
    dtype = parameters[0].dtype
    statistics = [
        buffer if buffer is None else cast(buffer, dtype) for buffer in (running_mean, running_var)
    ]
    y = reference_dynamic_batch_norm(
        cast(x, dtype), *statistics, *parameters, training=training, **options
    )
    if training and running_mean is not None and running_mean.dtype != dtype:
        running_mean.copy_(statistics[0])
        running_var.copy_(statistics[1])
    return cast(y, x.dtype)
