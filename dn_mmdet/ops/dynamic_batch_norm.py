"""The one entry to every implementation of dynamic batch normalisation."""

from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import aten, cpp, empty, triton
from .activation import bounds_of
from .arguments import check_arguments
from .closed_form import ClosedFormBatchNorm
from .dispatch import choose_path
from .layout import to_dense
from .options import Options
from .precision import cast, compute_dtype, without_autocast
from .recompute import is_recomputing
from .reference import reference_dynamic_batch_norm
from .running import update_running_statistics
from .sync import sharing_group

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

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
    group: 'ProcessGroup | None' = None,
) -> Tensor:
    """Batch normalisation with scale and shift from the SC-Module (equations 6 and 7).

    ``Y = (X - E[X]) / sqrt(Var[X] + eps) * alpha + lambda`` with
    ``alpha, lambda = offsets + split(W2 sigmoid(W1 g + b1))`` and g the spatial mean of X.

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

    Returns:
        Tensor: Shape, dtype and memory format of x.

    Raises:
        NotImplementedError: ``x`` is not of a real floating-point dtype.
        RuntimeError: A tensor is of another device, size or dtype than it must be, or running
            statistics are missing in evaluation.
        TypeError: ``x`` is no tensor.
        ValueError: ``x`` is not 4-D or has one value per channel in training, or another argument
            is out of range.
    """
    bounds_of(activation)
    if group is not None:
        group = sharing_group(group) if training else None
    check_arguments(
        x, running_mean, running_var, fc1_weight, fc1_bias, fc2_weight, alpha_offset,
        lambda_offset, training, eps, sc_input, group is not None,
    )  # fmt: skip
    dtype = compute_dtype(torch.promote_types(x.dtype, alpha_offset.dtype))
    parameters = [
        cast(tensor, dtype)
        for tensor in (fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset)
    ]
    path = choose_path(x, shared=group is not None)
    if path == 'aten':
        run = partial(_run_closed_form, aten)
    elif path in ('cpp', 'triton') and dtype == torch.float32:
        run = partial(_run_closed_form, cpp if path == 'cpp' else triton)
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
            group=group,
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
    group: 'ProcessGroup | None',
) -> Tensor:
    if x.numel() == 0:
        kernels = empty
    recompute = is_recomputing() and _needs_gradient(x, *parameters)
    options = Options(
        eps, sc_input == 'normalized', detach_gap, bounds_of(activation), recompute, group
    )
    frozen = (None, None)
    if not training:
        frozen = tuple(cast(buffer, parameters[0].dtype) for buffer in (running_mean, running_var))
        if kernels.EVALUATES and not _needs_gradient(x, *parameters):
            return kernels.evaluate(to_dense(x), *frozen, *parameters, options)
    y, mean, var, _, _, count = ClosedFormBatchNorm.apply(
        kernels, x, *parameters, *frozen, options
    )
    if training and running_mean is not None:
        count = x.numel() // x.shape[1] if count is None else count
        update_running_statistics(running_mean, running_var, mean, var, count, momentum)
    return y


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


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
