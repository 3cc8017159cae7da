"""The BatchNorm inside a dynamic norm, alone or with statistics of several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..ops.precision import cast, compute_dtype
from ..ops.sync import shared_batch_norm, sharing_group

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = [
    'FrozenBatchNorm2d',
    'SyncedBatchNorm2d',
    'count_batch',
    'is_known',
    'running_statistics',
    'sharing_group_of',
    'sync_options',
    'take_over',
]


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """``nn.SyncBatchNorm`` without affine, for a CPU too.

    It is not derived from ``nn.SyncBatchNorm``, which DistributedDataParallel refuses on a CPU.

    Args:
        num_features (int): Number of channels C.
        process_group (ProcessGroup, optional): Defaults to None, for all processes.
        **kwargs: Further arguments of ``nn.BatchNorm2d``.
    """

    def __init__(self, num_features: int, process_group: ProcessGroup | None = None, **kwargs: Any):
        super().__init__(num_features, **kwargs | {'affine': False})
        self.process_group = process_group

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a batch, in training together with the other processes."""
        group = sharing_group_of(self)
        if group is None:
            return super().forward(x)
        work = cast(x, compute_dtype(x.dtype))
        momentum = count_batch(self)
        y = shared_batch_norm(work, *running_statistics(self), momentum, self.eps, group)
        return cast(y, x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """The layer around it has checked; tracers, which do not know this class, cannot."""


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that stays in evaluation, as torchvision's class of this name does."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stays in evaluation, whatever the mode."""
        return super().train(False)


def take_over(bn: nn.Module, before: nn.Module) -> nn.Module:
    """What stands for a BatchNorm that another tool puts into a layer.

    Args:
        bn (nn.Module): A SyncBN of torch or mmcv without affine is replaced, with its process
            group, eps, momentum and statistics; all others stay.
        before (nn.Module): What was there. It stays if its statistics are frozen, and gives the
            replacement its mode, which mmengine's conversion forgets.
    """
    options = sync_options(bn)
    if options is None or type(bn).__name__ != 'SyncBatchNorm' or bn.affine:
        return bn
    if isinstance(before, FrozenBatchNorm2d):
        return before
    made = SyncedBatchNorm2d(
        bn.num_features,
        **options,
        eps=bn.eps,
        momentum=bn.momentum,
        track_running_stats=bn.track_running_stats,
    )
    for name in ('running_mean', 'running_var', 'num_batches_tracked'):
        setattr(made, name, getattr(bn, name))
    return made.train(before.training)


def sync_options(bn: nn.Module) -> dict[str, Any] | None:
    """``process_group`` of a SyncBN of torch or mmcv; None if it is something else."""
    # By name, since mmcv need not be installed.
    if (type(bn).__module__, type(bn).__name__) == ('mmcv.ops.sync_bn', 'SyncBatchNorm'):
        # It names the group of all, which cannot be copied.
        return {'process_group': None if bn.group is dist.group.WORLD else bn.group}
    if isinstance(bn, nn.SyncBatchNorm):
        return {'process_group': bn.process_group}
    return None


def is_known(bn: nn.Module) -> bool:
    """Whether it normalizes as ``nn.BatchNorm2d`` or :class:`SyncedBatchNorm2d` does.

    Tools that revert SyncBN have a class of their own for the former.
    """
    return type(bn).forward in (_BatchNorm.forward, SyncedBatchNorm2d.forward)


def sharing_group_of(bn: nn.Module) -> ProcessGroup | None:
    """The group over which it takes the statistics of its next batch, None for this process."""
    if not (bn.training and isinstance(bn, SyncedBatchNorm2d)):
        return None
    return sharing_group(bn.process_group)


def running_statistics(bn: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """Those that a batch changes in training, and that normalize it otherwise."""
    if bn.training and not bn.track_running_stats:
        return None, None
    buffers = bn._buffers
    return buffers['running_mean'], buffers['running_var']


def count_batch(bn: nn.Module) -> float:
    """Weight of a batch in the running statistics; the batch is counted where they are kept."""
    if not (bn.training and bn.track_running_stats):
        return 0.0
    batches = bn._buffers['num_batches_tracked']
    if batches is None:  # As in nn.BatchNorm2d, whose statistics then stay.
        return 0.0 if bn.momentum is None else bn.momentum
    batches.add_(1)
    return 1 / float(batches) if bn.momentum is None else bn.momentum
