"""Dynamic batch normalization in plain PyTorch, differentiated by autograd.

It runs for every dtype and device, can be differentiated twice, traced and exported, and is
what the faster paths are tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from .activation import activate
from .sc import SC_INPUTS, SCForm, SCWeights, scale_shift
from .sync import shared_batch_norm

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['modulate', 'reference_dynamic_batch_norm']


def reference_dynamic_batch_norm(
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
    group: ProcessGroup | None = None,
) -> Tensor:
    """See :func:`dn_mmdet.ops.functional`; all tensors share one dtype here."""
    if group is None:
        normalized = F.batch_norm(
            x, running_mean, running_var, training=training, momentum=momentum, eps=eps
        )
    else:
        normalized = shared_batch_norm(x, running_mean, running_var, momentum, eps, group)

    def sc(context: Tensor) -> tuple[Tensor, Tensor]:
        return scale_shift(context, weights, form.fc1_scale, form.fc2_scale)[:2]

    y = modulate(
        x, normalized, sc, weights.alpha_offset, weights.lambda_offset,
        SC_INPUTS[form.normalized], detach_gap,
    )  # fmt: skip
    return activate(y, activation)


def modulate(
    x: Tensor,
    normalized: Tensor,
    sc: Callable[[Tensor], tuple[Tensor, Tensor]],
    alpha_offset: Tensor,
    lambda_offset: Tensor,
    sc_input: str = 'raw',
    detach_gap: bool = False,
) -> Tensor:
    """Scale and shift a normalized map per sample and channel (equation 7).

    Args:
        x (Tensor): The raw input, shape (N, C, H, W).
        normalized (Tensor): The normalized input, same shape.
        sc (Callable): Maps (N, C) to the changes of alpha and lambda, each (N, C).
        alpha_offset (Tensor): Shape (C,).
        lambda_offset (Tensor): Shape (C,).
        sc_input (str): 'raw' pools ``x``, 'normalized' pools ``normalized``. Defaults to 'raw'.
        detach_gap (bool): Stop the gradient at the pooled values. Defaults to False.

    Returns:
        Tensor: Shape (N, C, H, W).
    """
    # The mean of the normalized map is (g - E[X]) / sqrt(Var[X] + eps).
    context = (normalized if sc_input == 'normalized' else x).mean((2, 3))
    if detach_gap:
        context = context.detach()
    alpha, shift = sc(context)
    alpha = (alpha + alpha_offset)[:, :, None, None]
    shift = (shift + lambda_offset)[:, :, None, None]
    return normalized * alpha + shift
