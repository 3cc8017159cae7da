"""What processes exchange to normalize their batches as one, with torch.distributed alone.

Forward: one all-gather of mean, variance and count (2 C + 1 numbers of each process), merged by
Chan's formula. Backward: one all-reduce of two sums per channel. Counts stay on the device.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from .precision import cast
from .torch_versions import all_gather_single

__all__ = [
    'SharedMoments',
    'merge_moments',
    'shared_batch_norm',
    'sharing_group',
    'sum_over',
    'update_running_statistics',
]


def sharing_group(process_group: dist.ProcessGroup | None) -> dist.ProcessGroup | None:
    """The group whose processes share their statistics; None if this process is alone in it.

    Args:
        process_group (ProcessGroup, optional): None stands for all processes.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group = dist.group.WORLD if process_group is None else process_group
    # -1 in a process that does not belong to the group.
    return group if dist.get_world_size(group) > 1 else None


def merge_moments(
    mean: Tensor, var: Tensor, shape: tuple[int, ...], group: dist.ProcessGroup
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance, each (C,), and count, (), over all processes of a group.

    They have the same bits in every process: all merge the same numbers, in the order of ranks,
    in float64. A process without values (its moments do not matter) must take part too. If there
    are no values at all, mean, variance and count are 0.

    Args:
        mean (Tensor): Of this process, shape (C,).
        var (Tensor): Biased variance of this process, shape (C,).
        shape (tuple[int, ...]): Of the map (N, C, H, W) that they were taken from.
        group (ProcessGroup): This process is one of several in it.

    Raises:
        ValueError: In every process, if there is one value per channel in all of them.
    """
    n, c, h, w = shape
    count = n * h * w
    own = torch.cat((mean, var, mean.new_full((1,), count))) if count else mean.new_zeros(2 * c + 1)
    world = dist.get_world_size(group)
    every = own.new_empty(world * (2 * c + 1))
    all_gather_single(every, own, group)
    means, variances, counts = every.view(world, -1).double().split((c, c, 1), dim=1)
    total = counts.sum()
    # With more values in this process there is no need to ask, which would wait for the device.
    if count <= 1 and total == 1:
        raise ValueError(
            f'Expected more than 1 value per channel when training, got input size {tuple(shape)} '
            f'and no other value in the {world} processes that share their statistics'
        )
    weights = counts / total.clamp(min=1)
    merged = (weights * means).sum(0)
    spread = means - merged
    variance = (weights * (variances + spread * spread)).sum(0)
    return merged.to(mean.dtype), variance.to(mean.dtype), total.to(mean.dtype)


def sum_over(totals: Tensor, group: dist.ProcessGroup) -> Tensor:
    """``totals`` summed over the processes of a group, in place."""
    dist.all_reduce(totals, group=group)
    return totals


class SharedMoments(torch.autograd.Function):
    """Mean, biased variance (differentiable, also twice) and count of a map over a group.

    Where the losses of all processes are summed, the gradient of the map is that of the sum.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, group: dist.ProcessGroup
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :func:`merge_moments`; x is of shape (N, C, H, W)."""
        dims = (0, 2, 3)
        zeros = x.new_zeros(x.shape[1])
        own = (x.mean(dims), x.var(dims, correction=0)) if x.numel() else (zeros, zeros)
        mean, var, count = merge_moments(*own, x.shape, group)
        ctx.group = group
        ctx.save_for_backward(x, mean, count)
        ctx.mark_non_differentiable(count)
        return mean, var, count

    @staticmethod
    def backward(ctx: FunctionCtx, dmean: Tensor, dvar: Tensor, _: Tensor) -> tuple[Tensor, None]:
        """Gradient of x."""
        x, mean, count = ctx.saved_tensors
        dmean, dvar = _SumOver.apply(torch.stack((dmean, dvar)), ctx.group) / count
        centered = x - mean[:, None, None]
        return dmean[:, None, None] + 2 * dvar[:, None, None] * centered, None


def shared_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
    group: dist.ProcessGroup,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` in training, without affine, over a group.

    Plain PyTorch, for every dtype and device.

    Args:
        x (Tensor): Shape (N, C, H, W).
        running_mean (Tensor, optional): Shape (C,); updated in place.
        running_var (Tensor, optional): Shape (C,); updated in place.
        momentum (float): Weight of the batch in the running statistics.
        eps (float): Added to the variance.
        group (ProcessGroup): This process is one of several in it.
    """
    mean, var, count = SharedMoments.apply(x, group)
    if running_mean is not None:
        update_running_statistics(running_mean, running_var, mean, var, count, momentum)
    return (x - mean[:, None, None]) * torch.rsqrt(var + eps)[:, None, None]


def update_running_statistics(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    var: Tensor,
    count: int | Tensor,
    momentum: float,
) -> None:
    """Move the running statistics toward those of a batch, in place.

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


class _SumOver(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, totals: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return sum_over(totals.clone(), group)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _SumOver.apply(gradient, ctx.group), None
