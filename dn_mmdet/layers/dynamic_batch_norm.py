"""What DN-B and DN-C have in common: the inner BatchNorm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..ops.precision import cast
from ..ops.sync import SharedMoments
from .batchnorms import read_batchnorm
from .dynamic_norm import DynamicNorm
from .inner_bn import SyncedBatchNorm2d, is_known, sharing_group_of, take_over
from .sc_module import GAIN, PARAMETERIZATION
from .validation import (
    check_eps,
    check_flag,
    check_input,
    check_momentum,
    check_positive_int,
    check_process_group,
)

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['DynamicBatchNorm']


class DynamicBatchNorm(DynamicNorm):
    """Base of the dynamic norms that normalize by a BatchNorm, ``bn``.

    The BatchNorm is a member and not the base class: tools that look for BatchNorm (freezing,
    conversion to SyncBN, fusion with convolutions) then treat the statistics as BatchNorm's and
    leave scale and shift alone. Whether the statistics of the batch or the running ones are used
    is therefore for ``self.bn.training`` to say. Conversion to SyncBN makes of the layer what
    ``sync=True`` does; the state dict stays the same.
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        track_running_stats: bool = True,
        requires_grad: bool = True,
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        sync: bool = False,
        process_group: ProcessGroup | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        check_positive_int('num_features', num_features)
        batch_norm, options = nn.BatchNorm2d, {}
        check_process_group(process_group, check_flag('sync', sync))
        if sync:
            batch_norm, options = SyncedBatchNorm2d, {'process_group': process_group}
        bn = batch_norm(
            num_features,
            eps=check_eps(eps),
            momentum=check_momentum(momentum),
            affine=False,
            track_running_stats=check_flag('track_running_stats', track_running_stats),
            device=device,
            dtype=dtype,
            **options,
        )
        super().__init__(
            num_features,
            r=r,
            g=g,
            start=start,
            requires_grad=requires_grad,
            parameterization=parameterization,
            gain=gain,
            device=device,
            dtype=dtype,
            bn=bn,
        )

    @classmethod
    def from_bn(cls, bn: nn.Module, **kwargs: Any) -> DynamicBatchNorm:
        """A layer that computes what a trained BatchNorm does.

        Args:
            bn (nn.Module): A BatchNorm of torch, ``mmcv.ops.SyncBatchNorm``, or torchvision's or
                detectron2's ``FrozenBatchNorm2d``. Gives the number of channels, eps, momentum,
                statistics, gamma, beta, device, dtype and mode; a SyncBN also ``sync=True`` and
                the process group, and a frozen one statistics that stay in training too.
            **kwargs: Further arguments of the layer, as ``r`` and ``g``.

        Raises:
            TypeError: ``bn`` is not such a layer, does more than that, or gives an argument that
                is also in ``kwargs``.
            ValueError: Its numbers are not there yet, are computed from others, or are out of
                range.
        """
        parts = read_batchnorm(bn)
        if parts.after:
            raise TypeError(
                f'bn must be a BatchNorm layer alone, got {type(bn).__name__}, which also has '
                f'{" and ".join(parts.after)}: convert_batchnorm converts both'
            )
        return parts.build(cls, **kwargs)

    def reset_parameters(self) -> None:
        """Back to the start: weights of the SC-Module, offsets and running statistics."""
        self.bn.reset_parameters()
        super().reset_parameters()

    @property
    def sync(self) -> bool:
        """Whether the statistics of training are those of several processes."""
        return isinstance(self.bn, SyncedBatchNorm2d)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As in ``nn.Module``, but of a SyncBN for ``bn`` only the numbers are kept.

        This is how ``nn.SyncBatchNorm.convert_sync_batchnorm`` and mmengine's ``sync_bn`` put it
        there; it could not run on a CPU, nor share the pass over the map with the rest.
        """
        if name == 'bn' and isinstance(module, nn.Module):
            module = take_over(module, self.bn)
        super().add_module(name, module)

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'{super().extra_repr()}, sync=True' if self.sync else super().extra_repr()

    @property
    def _uses_batch_statistics(self) -> bool:
        return self.bn.training or self.bn.running_mean is None

    def _mean_and_var(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E[X] and the biased Var[X] that normalize x, each of shape (C,)."""
        if self._uses_batch_statistics:
            group = sharing_group_of(self.bn)
            if group is not None:
                return SharedMoments.apply(x, group)[:2]
            return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        dtype = self._compute_dtype
        return cast(self.bn.running_mean, dtype), cast(self.bn.running_var, dtype)

    def _check_input(self, x: Tensor) -> None:
        # Where processes share their statistics, the values of all count; a foreign BatchNorm
        # checks for itself.
        alone = is_known(self.bn) and sharing_group_of(self.bn) is None
        check_input(
            x, self.num_features, self.alpha_offset.dtype, alone and self._uses_batch_statistics
        )

    def _normalize(self, x: Tensor) -> Tensor:
        """The inner BatchNorm, which wants the dtype of its own buffers."""
        buffers = self.bn.running_mean
        if buffers is None or buffers.dtype == self._compute_dtype:
            return self.bn(x)
        return self.bn(x.to(buffers.dtype)).to(self._compute_dtype)
