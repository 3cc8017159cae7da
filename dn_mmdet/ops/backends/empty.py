"""The kernels of aten.py for a map without values.

A process without a sample runs the closed form with these, since the others wait for its part of
the exchanges, in the order in which they make theirs.
"""

import torch
from torch import Tensor

from ..activation import Gate
from ..sc import sc_backward, sc_forward

__all__ = [
    'EVALUATES',
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

# As in aten.py.
EVALUATES = False
GATES_FROM_OUTPUT = False


def widen(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in the dtype of the numbers that go with it."""
    return x.to(dtype)


def plane_means(x: Tensor) -> Tensor:
    """Zeros, (N, C)."""
    return x.new_zeros(x.shape[:2])


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros, (N, C), (C,) and (C,)."""
    return plane_means(x), x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """A map without values, in the layout of ``x``."""
    return torch.empty_like(x)


def plane_products(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """Zeros, (N, C) and (N, C)."""
    return plane_means(x), plane_means(x)


def plane_gradient(
    dy: Tensor,
    x: Tensor,
    scale: Tensor,
    slope: Tensor | None,
    offset: Tensor,
    gate: Gate | None = None,
) -> Tensor:
    """A map without values, in the layout of ``x``."""
    return torch.empty_like(x)
