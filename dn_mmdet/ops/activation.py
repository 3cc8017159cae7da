"""Activations that an operator can apply to its output, as bounds of a clamp."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

__all__ = ['ACTIVATIONS', 'Gate', 'activate', 'bounds_of']

ACTIVATIONS = {'ReLU': (0.0, math.inf), 'ReLU6': (0.0, 6.0)}


class Gate(NamedTuple):
    """Where a clamped affine map ``x * scale + shift`` lets the gradient pass.

    Attributes:
        scale (Tensor): Shape (N, C).
        shift (Tensor): Shape (N, C).
        bounds (tuple[float, float]): The gradient is 0 where the map lies on or outside of them,
            as in ``torch.nn.ReLU`` and ``torch.nn.ReLU6``.
    """

    scale: Tensor
    shift: Tensor
    bounds: tuple[float, float]


def bounds_of(activation: str | None) -> tuple[float, float] | None:
    """Lower and upper bound of an activation, or None for none.

    Raises:
        ValueError: There is no such activation.
    """
    if activation is None:
        return None
    if activation not in ACTIVATIONS:
        raise ValueError(
            f'activation must be {", ".join(map(repr, ACTIVATIONS))} or None, got {activation!r}'
        )
    return ACTIVATIONS[activation]


def activate(y: Tensor, activation: str | None, inplace: bool = False) -> Tensor:
    """The activation as a map of its own, for the reference."""
    if activation is None:
        return y
    low, high = bounds_of(activation)
    # The gradient of a clamp would be 1 on the bounds.
    return F.relu(y, inplace) if high == math.inf else F.hardtanh(y, low, high, inplace)
