"""The BatchNorms of torch and of other libraries, read alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from .inner_bn import FrozenBatchNorm2d, sync_options

__all__ = ['BatchNormParts', 'forward_definer', 'is_batchnorm2d', 'read_batchnorm']

WEIGHTS = ('weight', 'bias')
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
# Of other libraries, told by the name, since none of them need be installed: those whose running
# statistics serve in training too, and those with a dropout and an activation of their own.
FROZEN = ('FrozenBatchNorm2d', 'FrozenBatchNormAct2d')
ACTIVATED = ('BatchNormAct2d', 'SyncBatchNormAct', 'FrozenBatchNormAct2d')
# Of mmengine, what it makes of a SyncBN in one process; it takes maps of any number of dimensions.
REVERTED = '_BatchNormXd'


class BatchNormParts(NamedTuple):
    """What a BatchNorm holds.

    Attributes:
        state (dict[str, Tensor]): Its numbers under torch's names, as far as it has them.
        arguments (dict): Those of a DN layer that it fixes: channels, eps and momentum, whether
            there are running statistics, and, if it has numbers, device and dtype.
        sync (dict): ``sync`` and ``process_group`` of a SyncBN, else empty.
        tracks (bool): Whether training changes the running statistics.
        frozen (bool): Whether they serve in training too.
        trained (bool): Whether gamma is trained, or there is none.
        training (bool): Its mode.
        after (dict[str, nn.Module]): ``drop`` and ``act``, what it applies to the normalized map.
    """

    state: dict[str, Tensor]
    arguments: dict[str, Any]
    sync: dict[str, Any]
    tracks: bool
    frozen: bool
    trained: bool
    training: bool
    after: dict[str, nn.Module]

    def build(self, layer: type[nn.Module], **kwargs: Any) -> nn.Module:
        """A DN layer of these numbers.

        Args:
            layer (type): DNB or DNC.
            **kwargs: Its further arguments.

        Raises:
            TypeError: ``kwargs`` has an argument that the BatchNorm gives.
        """
        taken = [name for name in kwargs if name in self.arguments]
        if taken:
            raise TypeError(f'{taken[0]} is taken from the BatchNorm: leave it out')
        sync = {} if 'sync' in kwargs else self.sync
        made = layer(**self.arguments, **{**sync, **kwargs})
        start = {
            'weight': torch.ones_like(made.alpha_offset),
            'bias': torch.zeros_like(made.lambda_offset),
        }
        if self.arguments['track_running_stats']:
            start['num_batches_tracked'] = torch.zeros_like(made.bn.num_batches_tracked)
            made.bn.track_running_stats = self.tracks
        made.load_state_dict({**start, **self.state})
        if self.frozen:
            made.bn.__class__ = FrozenBatchNorm2d
        return made.train(self.training)


def is_batchnorm2d(module: nn.Module) -> bool:
    """Whether it is a BatchNorm of (N, C, H, W), of any library that is known."""
    definer = forward_definer(module)
    if definer is _BatchNorm:
        lazy = isinstance(module, nn.LazyBatchNorm2d)
        return lazy or isinstance(module, nn.BatchNorm2d) or type(module).__name__ == REVERTED
    return _is_known(module, definer)


def read_batchnorm(bn: nn.Module) -> BatchNormParts:
    """The parts of a BatchNorm.

    Args:
        bn (nn.Module): Any.

    Raises:
        TypeError: It is not a BatchNorm, or has a forward of its own.
        ValueError: Its numbers are not there yet, are computed from others, or are not complete.
    """
    definer = forward_definer(bn) if isinstance(bn, nn.Module) else None
    if definer is not _BatchNorm and not _is_known(bn, definer):
        own = ', whose forward is its own' if isinstance(bn, _BatchNorm) else ''
        raise TypeError(f'bn must be a BatchNorm layer, got {type(bn).__name__}{own}')
    state = _numbers(bn)
    has_statistics = 'running_mean' in state
    like = next(iter(state.values()), None)
    sync = sync_options(bn)
    return BatchNormParts(
        state=state,
        arguments=dict(
            num_features=bn.num_features if like is None else len(like),
            eps=bn.eps,
            momentum=getattr(bn, 'momentum', 0.1),
            track_running_stats=has_statistics,
            **({} if like is None else dict(device=like.device, dtype=like.dtype)),
        ),
        sync={} if sync is None else {'sync': True, **sync},
        tracks=getattr(bn, 'track_running_stats', True),
        frozen=definer.__name__ in FROZEN or isinstance(bn, FrozenBatchNorm2d),
        trained='weight' not in state or bn.weight.requires_grad,
        training=bn.training,
        after={
            name: bn._modules[name]
            for name in ('drop', 'act')
            if definer.__name__ in ACTIVATED
            and not isinstance(bn._modules.get(name), (nn.Identity, type(None)))
        },
    )


def forward_definer(module: nn.Module) -> type | None:
    """The class whose forward runs; None where it is the object's own."""
    if 'forward' in vars(module):
        return None
    return next(cls for cls in type(module).__mro__ if 'forward' in vars(cls))


def _is_known(module: nn.Module, definer: type | None) -> bool:
    name = getattr(definer, '__name__', None)
    synced = definer is nn.SyncBatchNorm or (
        name == 'SyncBatchNorm' and sync_options(module) is not None
    )
    return synced or name in (*FROZEN, *ACTIVATED)


def _numbers(bn: nn.Module) -> dict[str, Tensor]:
    """Gamma, beta and statistics, detached."""
    kind = type(bn).__name__
    state = {}
    for name in (*WEIGHTS, *STATISTICS):
        value = getattr(bn, name, None)
        if value is None:
            continue
        if value is not bn._parameters.get(name) and value is not bn._buffers.get(name):
            raise ValueError(
                f'{name} of {kind} is computed from other parameters (parametrized or pruned): '
                'make it permanent first, with torch.nn.utils.parametrize.'
                'remove_parametrizations or torch.nn.utils.prune.remove'
            )
        if is_lazy(value):
            raise ValueError(f'{kind} has no channels yet: let a batch pass the model first')
        state[name] = value.detach()
    if ('running_mean' in state) != ('running_var' in state):
        raise ValueError(f'{kind} has only one of running_mean and running_var: give it both')
    if 'running_mean' not in state:
        state.pop('num_batches_tracked', None)
    return state
