"""Reading the state of a plain BatchNorm into a layer that has one inside."""

from typing import Any

import torch
from torch import nn

__all__ = ['dynamic_norm_from_bn_state', 'inner_bn_from_bn_state']

STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')


def dynamic_norm_from_bn_state(layer: nn.Module, state: dict[str, Any], prefix: str) -> None:
    """Rewrite the state of a BatchNorm as that of a layer with offsets and an SC-Module.

    The statistics go to ``layer.bn``, gamma and beta (1 and 0 where the BatchNorm had none) to
    the offsets, and the last weight of the SC-Module becomes 0, so the layer then computes what
    the BatchNorm did. A state that is not a BatchNorm's is left alone.

    Args:
        layer (nn.Module): Has ``bn``, ``sc``, ``alpha_offset`` and ``lambda_offset``.
        state (dict): Changed in place.
        prefix (str): What the keys of this layer start with.
    """
    if not _is_bn_state(state, prefix):
        return
    _move(state, prefix, STATISTICS, 'bn.')
    scale = state.pop(f'{prefix}weight', None)
    shift = state.pop(f'{prefix}bias', None)
    state[f'{prefix}alpha_offset'] = torch.ones_like(layer.alpha_offset) if scale is None else scale
    state[f'{prefix}lambda_offset'] = (
        torch.zeros_like(layer.lambda_offset) if shift is None else shift
    )
    for name, value in layer.sc.state_dict().items():
        state[f'{prefix}sc.{name}'] = value
    state[f'{prefix}sc.fc2_weight'] = torch.zeros_like(layer.sc.fc2_weight)


def inner_bn_from_bn_state(layer: nn.Module, state: dict[str, Any], prefix: str) -> None:
    """Rewrite the state of a BatchNorm as that of a layer whose ``bn`` it is.

    The other parameters and buffers keep the values that they have in ``layer``. A state that is
    not a BatchNorm's is left alone.

    Args:
        layer (nn.Module): Has an affine ``bn``.
        state (dict): Changed in place.
        prefix (str): What the keys of this layer start with.
    """
    if not _is_bn_state(state, prefix):
        return
    _move(state, prefix, ('weight', 'bias', *STATISTICS), 'bn.')
    for name, value in layer.state_dict().items():
        if not name.startswith('bn.') or name in ('bn.weight', 'bn.bias'):
            state.setdefault(f'{prefix}{name}', value)


def _is_bn_state(state: dict[str, Any], prefix: str) -> bool:
    return f'{prefix}weight' in state or f'{prefix}running_mean' in state


def _move(state: dict[str, Any], prefix: str, names: tuple[str, ...], target: str) -> None:
    for name in names:
        if f'{prefix}{name}' in state:
            state[f'{prefix}{target}{name}'] = state.pop(f'{prefix}{name}')
