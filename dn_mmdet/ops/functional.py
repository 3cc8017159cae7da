"""The one entry to every implementation of dynamic batch normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .activation import bounds_of
from .arguments import check_arguments
from .autograd import ClosedFormBatchNorm, Options, train
from .backends import KERNELS, empty
from .dispatch import choose_path
from .precision import cast, compute_dtype, to_dense, without_autocast
from .recompute import is_recomputing
from .reference import reference_dynamic_batch_norm
from .sc import SCForm, SCWeights
from .sync import sharing_group

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['dynamic_batch_norm', 'run_unchecked']


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
    group: ProcessGroup | None = None,
    fc1_scale: float = 1.0,
    fc2_scale: float = 1.0,
) -> Tensor:
    """Batch normalization with scale and shift from the SC-Module (equations 6 and 7).

    ``Y = (X - E[X]) / sqrt(Var[X] + eps) * alpha + lambda`` with
    ``alpha, lambda = offsets + split(k W2 sigmoid(s W1 c + b1))``; c is the spatial mean g of X, or
    that normalized. With ``sc_input='normalized'`` and s = 1 / sqrt(C) the first layer is well
    conditioned, and with k = 2 / sqrt(inputs of a group of W2) the second; see docs/method.md.

    Statistics and SC-Module are computed in float32, or float64 where x or the parameters are,
    also under autocast. Only the 'reference' path has a second derivative: where that is needed,
    call inside ``use_path('reference')``.

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
        group (ProcessGroup, optional): In training, the statistics are those of the batches of
            its processes together, each of any size, even 0. All must make this call and its
            backward, in the same order and on the same path. The gradients of all but x are those
            of this process's samples; where the losses are summed over the processes, their sum
            is the gradient. Defaults to None: this process alone.
        fc1_scale (float): s, which scales ``W1 c``. Defaults to 1.0, as in the paper.
        fc2_scale (float): k, which scales ``W2 h``. Defaults to 1.0, as in the paper.

    Returns:
        Tensor: Shape, dtype and memory format of x.

    Raises:
        NotImplementedError: ``x`` is not of a real floating-point dtype.
        RuntimeError: A tensor is on the wrong device or of the wrong size or dtype, or running
            statistics are missing in evaluation.
        TypeError: ``x`` is not a tensor.
        ValueError: ``x`` is not 4-D or has one value per channel in training, or another argument
            is out of range.
    """
    if group is not None:
        group = sharing_group(group) if training else None
    weights = SCWeights(fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset)
    check_arguments(
        x, running_mean, running_var, weights, training, eps, sc_input, group is not None,
        fc1_scale, fc2_scale,
    )  # fmt: skip
    form = SCForm(sc_input == 'normalized', fc1_scale, fc2_scale)
    return run_unchecked(
        x, running_mean, running_var, weights, training, momentum, eps, form, detach_gap,
        activation, group, choose_path(x, group is not None),
    )  # fmt: skip


def run_unchecked(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weights: SCWeights,
    training: bool,
    momentum: float,
    eps: float,
    form: SCForm,
    detach_gap: bool,
    activation: str | None,
    group: ProcessGroup | None,
    path: str,
) -> Tensor:
    """:func:`dynamic_batch_norm` for arguments that are known to fit, as a layer's own do.

    A call costs microseconds of Python, which count where maps are small.

    Args:
        x (Tensor): As there, and so are all that are not named here.
        weights (SCWeights): The five of them.
        form (SCForm): How they enter.
        group (ProcessGroup, optional): It has several processes.
        path (str): What :func:`.dispatch.choose_path` says of ``x``.
    """
    bounds = bounds_of(activation)
    dtype = weights.alpha_offset.dtype
    if x.dtype != dtype or dtype != torch.float32:
        dtype = compute_dtype(torch.promote_types(x.dtype, dtype))
    for weight in weights:
        if weight.dtype != dtype:
            weights = SCWeights._make(cast(weight, dtype) for weight in weights)
            break
    if path == 'cpp' and dtype == torch.float32 and group is None:
        if not training:  # In training they are written, and keep their dtype.
            running_mean, running_var = _cast_statistics(dtype, running_mean, running_var)
        return KERNELS[path].layer(
            x, running_mean, running_var, None, weights, training, momentum, eps, form, detach_gap,
            bounds,
        )  # fmt: skip
    with without_autocast(x):
        if path == 'reference' or (path != 'aten' and dtype != torch.float32):
            return _run_reference(
                x, running_mean, running_var, weights, training, momentum, eps, form,
                detach_gap, activation, group,
            )  # fmt: skip
        kernels = KERNELS[path] if x.numel() else empty
        needs_gradient = torch.is_grad_enabled() and (
            x.requires_grad or any(weight.requires_grad for weight in weights)
        )
        if not training:
            frozen = _cast_statistics(dtype, running_mean, running_var)
            if kernels.EVALUATES and not needs_gradient:
                return kernels.evaluate(to_dense(x), *frozen, weights, eps, form, bounds)
        recompute = needs_gradient and is_recomputing()
        options = Options(eps, form, detach_gap, bounds, recompute, group)
        if training:
            return train(
                kernels, options, running_mean, running_var, momentum,
                lambda options: ClosedFormBatchNorm.apply(
                    kernels, options, None, None, x, *weights
                ),
            )  # fmt: skip
        return ClosedFormBatchNorm.apply(kernels, options, *frozen, x, *weights)[0]


def _run_reference(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weights: SCWeights,
    training: bool,
    *options: Any,
) -> Tensor:
    dtype = weights.fc1_weight.dtype
    statistics = _cast_statistics(dtype, running_mean, running_var)
    y = reference_dynamic_batch_norm(cast(x, dtype), *statistics, weights, training, *options)
    if training and running_mean is not None and running_mean.dtype != dtype:
        running_mean.copy_(statistics[0])
        running_var.copy_(statistics[1])
    return cast(y, x.dtype)


def _cast_statistics(dtype: torch.dtype, *buffers: Tensor | None) -> list[Tensor | None]:
    return [buffer if buffer is None else cast(buffer, dtype) for buffer in buffers]
