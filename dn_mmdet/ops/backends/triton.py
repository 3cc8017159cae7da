"""The kernels in Triton, for NVIDIA GPUs: one pass each, no temporary map.

Triton comes with the CUDA builds of PyTorch for Linux, and is imported when it is first wanted.
Maps are float32, bfloat16 or float16, sums and numbers per sample and channel float32.

A layer is four launches forward and four backward; a map of few samples and channels, whose sums
are shared by several programs, has one more backward. Sizes of blocks follow from shapes alone:
nothing is tuned at run time and nothing waits for the device, so a CUDA graph can record a layer
that has run once.

What each function takes and returns: :class:`.kernels.Kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..activation import Gate
from ..sc import SCForm, SCGradients, SCWeights
from .kernels import leave as widen
from .triton_kernels.tiling import ceil_div, power_of_2, tile
from .triton_launch import launch

__all__ = [
    'EVALUATES',
    'GATES_FROM_OUTPUT',
    'evaluate',
    'plane_affine',
    'plane_gradient',
    'plane_means',
    'plane_moments',
    'plane_products',
    'sc_backward',
    'sc_forward',
    'widen',
]

EVALUATES = True
GATES_FROM_OUTPUT = False

# Moments of parts that a program merges at once, of so many channels: 32 bytes side by side.
MERGED, MERGED_CHANNELS = 4096, 8

# Weights that a program holds at once, and how many of them a warp.
TILE, OF_A_WARP = 4096, 256

# What a program takes at a time where it sums over samples; the first is the smallest block of a
# matrix product, and the others no smaller.
CHANNELS, SAMPLES, UNITS = 16, 64, 64


def plane_means(x: Tensor) -> Tensor:
    """See Kernels."""
    cut = tile(x, summed=True)
    parts = _empty(x, len(x), cut.parts, cut.channels)
    launch(
        x, 'sums.means', cut.programs,
        x, parts, cut.channels, cut.places, cut.tiles, cut.parts, **cut.constants,
    )  # fmt: skip
    return parts.squeeze(1) if cut.parts == 1 else parts.sum(1)


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Kernels."""
    cut = tile(x, summed=True)
    n, c = len(x), cut.channels
    part_means, part_squares = _empty(x, 2, n, cut.parts, c).unbind()
    launch(
        x, 'sums.moments', cut.programs,
        x, part_means, part_squares, c, cut.places, cut.tiles, cut.parts, **cut.constants,
    )  # fmt: skip
    means, mean, var = _empty(x, n, c), _empty(x, c), _empty(x, c)
    block_p, block_c = power_of_2(cut.parts), min(power_of_2(c), MERGED_CHANNELS)
    block_n = min(power_of_2(n), max(MERGED // (block_p * block_c), 1))
    launch(
        x, 'sums.merge_moments', ceil_div(c, block_c),
        part_means, part_squares, means, mean, var,
        n, c, cut.places, cut.tiles * cut.constants['BLOCK_S'], cut.parts,
        BLOCK_N=block_n, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
    return means, mean, var


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """See Kernels."""
    cut, y = tile(x), torch.empty_like(x)
    launch(
        x, 'maps.affine', cut.programs,
        x, scale.contiguous(), shift.contiguous(), y, cut.channels, cut.places, cut.parts,
        **_activation(bounds), **cut.constants,
    )  # fmt: skip
    return y


def plane_products(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """See Kernels."""
    cut = tile(x, summed=True)
    parts = _empty(x, 2, len(x), cut.parts, cut.channels)
    # Without a gate they are not read.
    scale, shift = (gate.scale, gate.shift) if gate else (mean, mean)
    launch(
        x, 'sums.products', cut.programs,
        dy, x, mean.contiguous(), scale, shift, *parts,
        cut.channels, cut.places, cut.tiles, cut.parts,
        **_activation(gate and gate.bounds), **cut.constants,
    )  # fmt: skip
    return (parts.squeeze(2) if cut.parts == 1 else parts.sum(2)).unbind()


def plane_gradient(
    dy: Tensor,
    x: Tensor,
    scale: Tensor,
    slope: Tensor | None,
    offset: Tensor,
    gate: Gate | None = None,
) -> Tensor:
    """See Kernels."""
    if slope is None:
        return plane_affine(dy, scale, offset)
    cut, dx = tile(x), torch.empty_like(x)
    launch(
        x, 'maps.gradient', cut.programs,
        dy, x, scale, slope.contiguous(), offset.contiguous(), gate.shift if gate else scale, dx,
        cut.channels, cut.places, cut.parts,
        **_activation(gate and gate.bounds), **cut.constants,
    )  # fmt: skip
    return dx


def sc_forward(
    means: Tensor, mean: Tensor, var: Tensor, weights: SCWeights, eps: float, form: SCForm
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See Kernels."""
    (n, c), units = means.shape, len(weights.fc1_weight)
    rstd, hidden = mean.new_empty(c), means.new_empty(n, units)
    scale, shift = means.new_empty(n, c), means.new_empty(n, c)
    launch(
        means, 'sc.forward', n,
        *(tensor.contiguous() for tensor in (means, mean, var, *weights)),
        rstd, hidden, scale, shift, eps, form.fc1_scale, form.fc2_scale, c,
        *_sizes(weights.fc1_weight, weights.fc2_weight),
        NORMALIZED=form.normalized, **_blocks(units, c),
    )  # fmt: skip
    return rstd, hidden, scale, shift


def sc_backward(
    sums: Tensor,
    products: Tensor,
    means: Tensor,
    mean: Tensor,
    rstd: Tensor,
    hidden: Tensor,
    scale: Tensor,
    fc1_weight: Tensor,
    fc2_weight: Tensor,
    places: int,
    count: float,
    form: SCForm,
    detach_gap: bool,
) -> SCGradients:
    """See Kernels."""
    (n, c), units = means.shape, len(fc1_weight)
    sizes = _sizes(fc1_weight, fc2_weight)
    mean, fc1_weight, fc2_weight = (
        tensor.contiguous() for tensor in (mean, fc1_weight, fc2_weight)
    )
    dlogit = torch.empty_like(hidden)
    launch(
        means, 'sc.backward_of_samples', n,
        sums, products, rstd, hidden, fc2_weight, dlogit, form.fc2_scale, c, *sizes,
        **_blocks(units, c),
    )  # fmt: skip
    gradients = SCGradients(
        fc1_weight=torch.empty_like(fc1_weight),
        fc1_bias=fc1_weight.new_empty(units),
        fc2_weight=torch.empty_like(fc2_weight),
        alpha_offset=torch.empty_like(mean),
        lambda_offset=torch.empty_like(mean),
        slope=torch.empty_like(mean),
        offset=torch.empty_like(means),
    )
    block_n, block_h = _between(n, SAMPLES), _between(units, UNITS)
    launch(
        means, 'sc.backward_of_channels', ceil_div(c, CHANNELS) * (1 + ceil_div(units, block_h)),
        sums, products, means, mean, rstd, hidden, scale, dlogit, fc1_weight, *gradients,
        1 / count if count else 0.0, 1 / places, form.fc1_scale, form.fc2_scale, n, c, *sizes,
        TRAINING=bool(count), NORMALIZED=form.normalized, DETACHED=detach_gap,
        BLOCK_N=block_n, BLOCK_C=CHANNELS, BLOCK_H=block_h,
    )  # fmt: skip
    return gradients


def evaluate(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weights: SCWeights,
    eps: float,
    form: SCForm,
    bounds: tuple[float, float] | None,
) -> Tensor:
    """The layer with frozen statistics in three launches; nothing is kept, so nothing copied."""
    _, _, scale, shift = sc_forward(plane_means(x), mean, var, weights, eps, form)
    return plane_affine(x, scale, shift, bounds)


def _empty(x: Tensor, *size: int) -> Tensor:
    return x.new_empty(size, dtype=torch.float32)


def _activation(bounds: tuple[float, float] | None) -> dict[str, Any]:
    low, high = bounds or (-math.inf, math.inf)
    return {'BOUNDED': bounds is not None, 'LOW': low, 'HIGH': high}


def _sizes(fc1_weight: Tensor, fc2_weight: Tensor) -> tuple[int, int, int]:
    """Hidden units, inputs and outputs of a group of the second layer."""
    units, inputs = len(fc1_weight), fc2_weight.shape[1]
    return units, inputs, len(fc2_weight) * inputs // units


def _blocks(units: int, channels: int) -> dict[str, int]:
    """All hidden units at once, and as many channels as go with them."""
    block_h = power_of_2(units)
    block_c = min(power_of_2(channels), max(TILE // block_h, 1))
    num_warps = min(max(block_h * block_c // OF_A_WARP, 1), 16)
    return {'BLOCK_C': block_c, 'BLOCK_H': block_h, 'num_warps': num_warps}


def _between(size: int, largest: int) -> int:
    return min(max(power_of_2(size), CHANNELS), largest)
