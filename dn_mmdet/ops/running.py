"""The running statistics of a batch normalisation."""

import torch
from torch import Tensor

from .precision import cast

__all__ = ['update_running_statistics']


def update_running_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    count: int | Tensor,
    momentum: float,
) -> None:
    """Move the running statistics towards those of a batch, in place.

    Args:
        running_mean (Tensor): Shape (C,).
        running_var (Tensor): Shape (C,), unbiased.
        mean (Tensor): Of the batch, shape (C,).
        var (Tensor): Biased variance of the batch, shape (C,).
        count (int | Tensor): Values per channel in the batch. A tensor, (), may be 0: nothing
            changes then.
        momentum (float): Weight of the batch.
    """
    with torch.no_grad():
        unbiased = var * (count / (count - 1))
        mean, unbiased = cast(mean, running_mean.dtype), cast(unbiased, running_var.dtype)
        if isinstance(count, Tensor):
            some = count > 0
            mean = torch.where(some, mean, running_mean)
            unbiased = torch.where(some, unbiased, running_var)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(unbiased, momentum)
