"""The kernels made of ATen's batch-norm kernels, for maps of float32 or float64.

To these a contiguous map is one sample of N * C channels. No sum of uncentered squares is taken:
float32 would lose the variance when the mean is large.

What each function takes and returns: :class:`.kernels.Kernels`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...utils.python39 import zip_strict
from ..sc import sc_backward, sc_forward
from .kernels import widen

__all__ = [
    'EVALUATES',
    'FUSES',
    'GATES_FROM_OUTPUT',
    'gated',
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
GATES_FROM_OUTPUT = True

# Numbers of a chunk whose centered copy stays in the cache.
CHUNK = 2**18
# Up to this many numbers a whole map stays in the cache, temporaries included.
SMALL = 2**16

_unsafe_view = torch.ops.aten._unsafe_view.default
_hardtanh_backward = torch.ops.aten.hardtanh_backward.default
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default


def plane_means(x: Tensor) -> Tensor:
    """See Kernels."""
    return x.mean((2, 3))


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Kernels."""
    n, c, h, w = x.shape
    means = plane_means(x)
    mean = means.mean(0)
    if not x.is_contiguous():
        # The kernel sums in a row, so at a large mean its own mean is off; the mean of means is
        # not, and moves the variance where it belongs.
        rough, var = torch.batch_norm_update_stats(x, None, None, 0.0)
        error = rough - mean
        return means, mean, var.addcmul_(error, error, value=-1).clamp_min_(0)
    squares = _centered_squares(x.view(1, n * c, h, w), means.view(-1)).view(n, c)
    spread = means - mean
    return means, mean, squares.div_(h * w).addcmul_(spread, spread).mean(0)


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """See Kernels."""
    y = _affine(x, scale, shift)
    return y.clamp_(*bounds) if bounds else y


def gated(dy: Tensor, y: Tensor, bounds: tuple[float, float]) -> Tensor:
    """See Kernels."""
    return _hardtanh_backward(dy, y.to(dy.dtype), *bounds)


def plane_products(dy: Tensor, x: Tensor, mean: Tensor, gate: None = None) -> tuple[Tensor, Tensor]:
    """See Kernels."""
    n, c, h, w = x.shape
    if x.is_contiguous():
        planes, centers = (1, n * c, h, w), mean.expand(n, c).contiguous().view(-1)
        sums, products = _products(dy.view(planes), x.view(planes), centers)
        return sums.view(n, c), products.view(n, c)
    if x.numel() <= SMALL:
        centered = x - mean[:, None, None]
        return dy.sum((2, 3)), centered.mul_(dy).sum((2, 3))
    pairs = [_products(dy[i : i + 1], x[i : i + 1], mean) for i in range(n)]
    sums, products = zip_strict(*pairs)
    return torch.stack(sums), torch.stack(products)


def plane_gradient(
    dy: Tensor, x: Tensor, scale: Tensor, slope: Tensor | None, offset: Tensor, gate: None = None
) -> Tensor:
    """See Kernels."""
    dx = _affine(dy, scale, offset)
    return dx if slope is None else dx.addcmul_(x, slope[:, None, None])


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    if not x.is_contiguous():
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])
    n, c, h, w = x.shape
    zero, one = x.new_zeros(n * c), x.new_ones(n * c)
    y, _, _ = torch.native_batch_norm(
        x.view(1, n * c, h, w), scale.reshape(-1), shift.reshape(-1), zero, one, False, 0.0, 0.0
    )
    # An autograd Function must not return a view: an in-place ReLU behind it would raise.
    return _unsafe_view(y, x.shape)


def _centered_squares(planes: Tensor, centers: Tensor) -> Tensor:
    size = max(CHUNK // (planes.shape[2] * planes.shape[3]), 1)
    if planes.shape[1] > size:
        chunks = zip_strict(planes.split(size, dim=1), centers.split(size))
        return torch.cat([_centered_squares(*chunk) for chunk in chunks])
    one = torch.ones_like(centers)
    centered, _, _ = torch.native_batch_norm(planes, None, None, centers, one, False, 0.0, 0.0)
    return _products(centered, centered, torch.zeros_like(centers), one)[1]


def _products(
    dy: Tensor, x: Tensor, mean: Tensor, one: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    one = torch.ones_like(mean) if one is None else one
    # On a CPU the running statistics are read, and on a GPU the saved ones, and the weight's dtype.
    _, products, sums = _batch_norm_backward(
        dy, x, one, mean, one, mean, one, False, 0.0, [False, True, True]
    )
    return sums, products
