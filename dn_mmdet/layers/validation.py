"""Checks of what users pass to the layers; every message names the argument and the value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor
from torch import distributed as dist
from torch.fx import Proxy

__all__ = [
    'check_choice',
    'check_eps',
    'check_flag',
    'check_gain',
    'check_groups',
    'check_input',
    'check_momentum',
    'check_positive_int',
    'check_process_group',
]

FLOAT32 = torch.finfo(torch.float32)


def check_positive_int(name: str, value: int) -> int:
    """The value, a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f'{name} must be an int, got {value!r} of type {type(value).__name__}')
    if value < 1:
        raise ValueError(f'{name} must be at least 1, got {value}')
    return int(value)


def check_groups(g: int | str) -> int | str:
    """The value, a whole number of at least 1 or 'oup'."""
    if isinstance(g, str):
        if g != 'oup':
            raise ValueError(f"g must be a positive int or 'oup', got {g!r}")
        return g
    return check_positive_int('g', g)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """The value, one of the choices."""
    if value not in choices:
        options = ' or '.join(repr(choice) for choice in choices)
        raise ValueError(f'{name} must be {options}, got {value!r}')
    return value


def check_gain(gain: float | str, names: Sequence[str]) -> float | str:
    """The value, positive and finite in float32, or one of the names."""
    if isinstance(gain, str):
        if gain not in names:
            options = ' or '.join(repr(name) for name in names)
            raise ValueError(f'gain must be a number, {options}, got {gain!r}')
        return gain
    _check_real('gain', gain)
    if not FLOAT32.tiny <= gain <= FLOAT32.max:
        raise ValueError(f'gain must be a positive finite number of float32, got {gain}')
    return float(gain)


def check_flag(name: str, value: bool) -> bool:
    """The value, True or False."""
    if not isinstance(value, bool):
        raise TypeError(f'{name} must be a bool, got {value!r} of type {type(value).__name__}')
    return value


def check_eps(eps: float) -> float:
    """The value, positive and finite."""
    _check_real('eps', eps)
    if not (eps > 0 and math.isfinite(eps)):
        raise ValueError(f'eps must be a positive finite number, got {eps}')
    return float(eps)


def check_momentum(momentum: float | None) -> float | None:
    """The value, None or between 0 and 1."""
    if momentum is None:
        return None
    _check_real('momentum', momentum)
    if not 0 <= momentum <= 1:
        raise ValueError(f'momentum must lie between 0 and 1, or be None, got {momentum}')
    return float(momentum)


def check_process_group(process_group: object, sync: bool) -> None:
    """Refuse what is not a process group, and one that would not be used."""
    if process_group is None:
        return
    # What new_group returns in a process outside of the group is not a ProcessGroup.
    outside = dist.is_available() and process_group is dist.GroupMember.NON_GROUP_MEMBER
    if not (outside or (dist.is_available() and isinstance(process_group, dist.ProcessGroup))):
        raise TypeError(
            'process_group must be a torch.distributed.ProcessGroup or None, got '
            f'{process_group!r} of type {type(process_group).__name__}'
        )
    if not sync:
        raise ValueError('process_group must be None without sync=True')


def check_input(
    x: Tensor,
    num_features: int,
    dtype: torch.dtype,
    batch_statistics: bool = False,
    num_groups: int | None = None,
) -> None:
    """Refuse what the layer cannot normalize.

    Args:
        x (Tensor): The input of the layer.
        num_features (int): Number of channels of the layer.
        dtype (torch.dtype): Dtype of the layer's own numbers.
        batch_statistics (bool): Whether this batch is to give the statistics. Defaults to False.
        num_groups (int, optional): Groups of channels, each of which has statistics of its own in
            each sample. Defaults to None.

    Raises:
        TypeError: ``x`` is not a tensor, is not of a real floating dtype, or is float64 while
            the layer is not.
        ValueError: ``x`` is not 4-D, has another number of channels, or has one value per
            channel, or per group of a sample, while statistics are to be taken from it.
    """
    if isinstance(x, Proxy) or torch.jit.is_tracing():
        return  # Sizes and dtypes are symbols then.
    if not isinstance(x, Tensor):
        raise TypeError(f'expected a Tensor of shape (N, C, H, W), got {type(x).__name__}')
    if x.dim() != 4:
        raise ValueError(
            f'expected 4D input (got {x.dim()}D input of size {tuple(x.shape)}): the layer is for '
            'maps (N, C, H, W), other inputs keep their own norm'
        )
    if x.shape[1] != num_features:
        raise ValueError(
            f'expected input with num_features={num_features} channels, '
            f'got {x.shape[1]} in input size {tuple(x.shape)}'
        )
    if not x.is_floating_point():
        raise TypeError(f'expected input of a floating-point dtype, got {x.dtype}')
    if x.dtype == torch.float64 and dtype != torch.float64:
        raise TypeError(
            f'expected input of at most the precision of the layer, {dtype}, got {x.dtype}; '
            'convert the input, or the layer with .double()'
        )
    if batch_statistics and x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise ValueError(
            f'Expected more than 1 value per channel when training, got input size {tuple(x.shape)}'
        )
    if num_groups is not None and x.shape[2] * x.shape[3] * num_features == num_groups:
        raise ValueError(
            'Expected more than 1 value per sample and group of channels, '
            f'got input size {tuple(x.shape)} with {num_groups} groups'
        )


def _check_real(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{name} must be a number, got {value!r} of type {type(value).__name__}')
