"""What DN-B and DN-C have in common: the inner BatchNorm, the SC-Module and the offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..ops.precision import cast, compute_dtype
from ..ops.sync import SharedMoments
from .batchnorms import read_batchnorm
from .inner_bn import SyncedBatchNorm2d, is_known, sharing_group_of, take_over
from .sc_module import GAIN, PARAMETERIZATION, SCModule
from .state import UNTOLD, adapt_form, dynamic_norm_from_bn_state, form_of, mark_norm
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

__all__ = ['Affine', 'DynamicNorm']


class Affine(NamedTuple):
    """What a dynamic norm multiplies and adds, and the SC-Module's units behind it.

    Attributes:
        alpha (Tensor): Scale, shape (N, C), or (1, C) where the batch shares it.
        shift (Tensor): lambda of the paper, same shape.
        hidden (Tensor): Units of the SC-Module behind their sigmoid, shape (N, H) or (1, H).
    """

    alpha: Tensor
    shift: Tensor
    hidden: Tensor


class DynamicNorm(nn.Module):
    """Base of the layers that normalize by ``bn`` and make scale and shift by ``sc``.

    The BatchNorm is a member and not the base class: tools that look for BatchNorm (freezing,
    conversion to SyncBN, fusion with convolutions) then treat the statistics as BatchNorm's and
    leave scale and shift alone. Whether the statistics of the batch or the running ones are used
    is therefore for ``self.bn.training`` to say. Conversion to SyncBN makes of the layer what
    ``sync=True`` does; the state dict stays the same.

    ``alpha_offset`` (ones at start) and ``lambda_offset`` (zeros at start) are buffers of shape
    (C,): they are saved, but not trained. A state dict of a plain BatchNorm loads: its gamma and
    beta become the offsets, and the layer then computes what the BatchNorm did.
    """

    _abbr_ = 'bn'
    # From 2 on a state dict says how its SC-Module's weights enter; see layers/state.py.
    _version = 2
    # What a state dict says of the layer; a kind that is not known is not told.
    _kind = UNTOLD

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
        super().__init__()
        self.num_features = check_positive_int('num_features', num_features)
        batch_norm, options = nn.BatchNorm2d, {}
        check_process_group(process_group, check_flag('sync', sync))
        if sync:
            batch_norm, options = SyncedBatchNorm2d, {'process_group': process_group}
        self.bn = batch_norm(
            num_features,
            eps=check_eps(eps),
            momentum=check_momentum(momentum),
            affine=False,
            track_running_stats=check_flag('track_running_stats', track_running_stats),
            device=device,
            dtype=dtype,
            **options,
        )
        self.sc = SCModule(
            num_features,
            r=r,
            g=g,
            start=start,
            parameterization=parameterization,
            gain=gain,
            device=device,
            dtype=dtype,
        )
        offset = torch.empty(num_features, device=device, dtype=dtype)
        self.register_buffer('alpha_offset', offset)
        self.register_buffer('lambda_offset', offset.clone())
        self._reset_offsets()
        for parameter in self.parameters():
            parameter.requires_grad = check_flag('requires_grad', requires_grad)

    @classmethod
    def from_bn(cls, bn: nn.Module, **kwargs: Any) -> DynamicNorm:
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
        self.sc.reset_parameters()
        self._reset_offsets()

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
        return f'{self.num_features}, sync=True' if self.sync else f'{self.num_features}'

    def _reset_offsets(self) -> None:
        nn.init.constant_(self.alpha_offset, 0.0 if self.sc.start == 'paper' else 1.0)
        nn.init.zeros_(self.lambda_offset)

    @property
    def _uses_batch_statistics(self) -> bool:
        return self.bn.training or self.bn.running_mean is None

    @property
    def _compute_dtype(self) -> torch.dtype:
        return compute_dtype(self.alpha_offset.dtype)

    def _mean_and_var(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E[X] and the biased Var[X] that normalize x, each of shape (C,)."""
        if self._uses_batch_statistics:
            group = sharing_group_of(self.bn)
            if group is not None:
                return SharedMoments.apply(x, group)[:2]
            return x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        dtype = self._compute_dtype
        return cast(self.bn.running_mean, dtype), cast(self.bn.running_var, dtype)

    def _with_offsets(self, alpha: Tensor, shift: Tensor, hidden: Tensor) -> Affine:
        dtype = self._compute_dtype
        alpha = alpha + cast(self.alpha_offset, dtype)
        return Affine(alpha, shift + cast(self.lambda_offset, dtype), hidden)

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

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark_norm(destination, prefix, self._kind, form_of(self))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if not dynamic_norm_from_bn_state(self, state_dict, prefix):
            refused = adapt_form(self, state_dict, prefix, local_metadata)
            error_msgs += [f'{prefix[:-1] or type(self).__name__}: {refused}'] if refused else []
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
