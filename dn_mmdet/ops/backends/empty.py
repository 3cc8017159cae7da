"""The kernels for a map without values.

A process without a sample runs the closed form with these, since the others wait for its part of
the exchanges, in the order in which they make theirs.

What each function takes and returns: :class:`.kernels.Kernels`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..activation import Gate
from ..sc import sc_backward, sc_forward
from .kernels import widen

__all__ = [
    'EVALUATES',
    'FUSES',
    'GATES_FROM_OUTPUT',
    'plane_affine',
    'plane_gradient',
    'plane_means',
    'plane_moments',
    'plane_products',
    'sc_backward',
    'sc_forward',
    'widen',
]

EVALUATES = False
FUSES = False
GATES_FROM_OUTPUT = False


def plane_means(x: Tensor) -> Tensor:
    """See Kernels."""
    return x.new_zeros(x.shape[:2])


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Kernels."""
    return plane_means(x), x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """See Kernels."""
    return torch.empty_like(x)


def plane_products(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """See Kernels."""
    return plane_means(x), plane_means(x)


def plane_gradient(
    dy: Tensor,
    x: Tensor,
    scale: Tensor,
    slope: Tensor | None,
    offset: Tensor,
    gate: Gate | None = None,
) -> Tensor:
    """See Kernels."""
    return torch.empty_like(x)
