"""Reading the state of a plain BatchNorm into a layer that has one inside."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ['dynamic_norm_from_bn_state', 'inner_bn_from_bn_state', 'norm_mismatch']

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


def norm_mismatch(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, str, int] | None:
    """Whether the norm layers of a checkpoint are of another kind than the model's.

    Args:
        model (nn.Module): The model.
        state (Mapping[str, Tensor]): Key to weights; the keys as the model has them.

    Returns:
        tuple[str, str, int] | None: Kind in the checkpoint, kind in the model ('BN', 'DNB' or
        'DNC', 'SEBN') and the number of layers that differ; None if none does.
    """
    own, given = _norm_kinds(model.state_dict()), _norm_kinds(state)
    differing = [place for place in own if place in given and own[place] != given[place]]
    if not differing:
        return None
    modules = dict(model.named_modules())
    names = {type(modules[place]).__name__ for place in differing}
    kind = ' and '.join(sorted(names)).replace('_BatchNormXd', 'BN').replace('BatchNorm2d', 'BN')
    return given[differing[0]], kind, len(differing)


def _norm_kinds(keys: Mapping[str, Tensor]) -> dict[str, str]:
    """Place of every norm layer to its kind, from the names of its weights alone."""
    kinds = {}
    for key in keys:
        place, _, name = key.rpartition('.')
        if name != 'running_mean':
            continue
        outer = place.rpartition('.')[0]
        if f'{outer}.sc.fc1_weight' in keys:
            kinds[outer] = 'DNB or DNC'
        elif f'{outer}.fc1_weight' in keys:
            kinds[outer] = 'SEBN'
        else:
            kinds[place] = 'BN'
    return kinds
