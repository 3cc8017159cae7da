"""The kernels in Triton, for NVIDIA GPUs: one pass each, no temporary map.

Triton comes with the CUDA builds of PyTorch for Linux, and is imported when it is first wanted.
Maps are float32, bfloat16 or float16, sums and numbers per sample and channel float32.

A layer in training is two launches forward, the update of the running statistics included, and
three backward; without gradients it is two. What lies between two passes over a map is done by the
last program of the first or by each of the second. Sizes of blocks follow from shapes alone:
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
from ..sc import SCForm, SCGradients, SCWeights, sc_backward
from .kernels import RunningStatistics
from .kernels import leave as widen
from .triton_kernels.tiling import Tiling, ceil_div, power_of_2, tile
from .triton_launch import counters, launch

__all__ = [
    'EVALUATES',
    'FUSES',
    'GATES_FROM_OUTPUT',
    'evaluate',
    'fused_forward',
    'fused_gradients',
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
FUSES = True
GATES_FROM_OUTPUT = False

# Weights that a program holds at once, and how many of them a warp.
TILE, OF_A_WARP = 4096, 256
# The same in kernels over maps, all of whose programs have the registers that the last one needs,
# and the warps of those: as many as a whole tile has.
BESIDE, WARPS = 1024, 4
# So many programs at most merge the moments, each of some channels: each program of the next
# kernel adds up as many numbers for a hidden unit.
MERGES = 16

# What a program takes at a time where it sums over samples; the first is the smallest block of a
# matrix product, and the others no smaller.
CHANNELS, SAMPLES, UNITS = 16, 64, 64


def plane_means(x: Tensor) -> Tensor:
    """See Kernels."""
    return plane_moments(x)[0]


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Kernels."""
    return _moments(x)[:3]


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
    return _products(dy, x, mean, gate)


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
        NORMALIZED=form.normalized, **_blocks(units, c, TILE),
    )  # fmt: skip
    return rstd, hidden, scale, shift


def fused_forward(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weights: SCWeights,
    eps: float,
    form: SCForm,
    bounds: tuple[float, float] | None,
    running: RunningStatistics | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See Kernels."""
    weights = SCWeights._make(tensor.contiguous() for tensor in weights)
    means, mean, var, rstd, logits = _moments(
        x, mean, var, weights.fc1_weight, eps, form.normalized, running
    )
    cut, y, units = tile(x, summed=True), torch.empty_like(x), len(weights.fc1_weight)
    hidden, (scale, shift) = _empty(x, len(x), units), _empty(x, 2, *means.shape)
    # Of two tiles for the alphas and lambdas, and of one for the logits.
    widest = max(cut.constants['BLOCK_C'], MERGES)
    launch(
        x, 'maps.modulate', cut.programs,
        x, mean, rstd, logits, *weights[1:], hidden, scale, shift, y, form.fc1_scale,
        form.fc2_scale, len(x), cut.channels, cut.places, cut.tiles, cut.parts, len(logits),
        *_sizes(weights.fc1_weight, weights.fc2_weight),
        BLOCK_M=power_of_2(len(logits)),
        BLOCK_H=min(power_of_2(units), max(BESIDE // 2 // widest, 1)),
        **_activation(bounds), **cut.constants,
    )  # fmt: skip
    return y, means, mean, var, rstd, hidden, scale, shift


def fused_gradients(
    dy: Tensor,
    x: Tensor,
    means: Tensor,
    mean: Tensor,
    rstd: Tensor,
    hidden: Tensor,
    scale: Tensor,
    fc1_weight: Tensor,
    fc2_weight: Tensor,
    count: float,
    form: SCForm,
    detach_gap: bool,
    gate: Gate | None,
) -> SCGradients:
    """See Kernels."""
    (n, c), units = means.shape, len(fc1_weight)
    mean, fc1_weight, fc2_weight = (
        tensor.contiguous() for tensor in (mean, fc1_weight, fc2_weight)
    )
    dlogit = torch.empty_like(hidden)
    sums, products = _products(
        dy, x, mean, gate, rstd, hidden, fc2_weight, dlogit, form.fc2_scale,
        *_sizes(fc1_weight, fc2_weight),
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
        1 / count if count else 0.0, 1 / (x.shape[2] * x.shape[3]), form.fc1_scale, form.fc2_scale,
        n, c, *_sizes(fc1_weight, fc2_weight),
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
    """The layer with frozen statistics; nothing is kept, so nothing copied."""
    return fused_forward(x, mean, var, weights, eps, form, bounds)[0]


def _moments(
    x: Tensor,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    fc1_weight: Tensor | None = None,
    eps: float = 0.0,
    normalized: bool = False,
    running: RunningStatistics | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means, mean, variance and rstd; with a first layer also what blocks of channels add to it.

    A mean and variance that are given are left as they are.
    """
    cut, frozen = tile(x, summed=True), mean is not None
    n, c = len(x), cut.channels
    merged = max(power_of_2(ceil_div(c, MERGES)), CHANNELS, cut.constants['BLOCK_C'])
    merges, units = ceil_div(c, merged), 0 if fc1_weight is None else len(fc1_weight)
    part_means, part_squares = _empty(x, 2, n, cut.parts, c).unbind()
    means, logits = _empty(x, n, c), _empty(x, merges, n, units)
    mean, var = (mean.contiguous(), var.contiguous()) if frozen else _empty(x, 2, c)
    rstd = torch.empty_like(mean)
    # What is not asked for is not touched.
    running_mean, running_var, momentum = running or (mean, var, 0.0)
    count, block_p = n * cut.places, power_of_2(cut.parts)
    launch(
        x, 'sums.moments', cut.programs,
        x, part_means, part_squares, counters(x, merges), means, mean, var, rstd,
        running_mean, running_var, mean if fc1_weight is None else fc1_weight, logits,
        float(momentum), count / max(count - 1, 1), eps, n, c, cut.places, cut.tiles, cut.parts,
        units, FROZEN=frozen, RUNNING=running is not None, LOGITS=units > 0,
        NORMALIZED=normalized, MERGED=merged, MERGED_C=CHANNELS, MERGED_P=block_p,
        MERGED_N=min(power_of_2(n), max(BESIDE // (block_p * CHANNELS), 1)),
        LOGIT_N=_between(n, SAMPLES), LOGIT_H=BESIDE // SAMPLES,
        **cut.constants | {'num_warps': WARPS},
    )  # fmt: skip
    return means, mean, var, rstd, logits


def _products(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    gate: Gate | None,
    rstd: Tensor | None = None,
    hidden: Tensor | None = None,
    fc2_weight: Tensor | None = None,
    dlogit: Tensor | None = None,
    fc2_scale: float = 1.0,
    units: int = 1,
    inputs: int = 1,
    outputs: int = 1,
) -> tuple[Tensor, Tensor]:
    """Sums and products; with the numbers of an SC-Module ``dlogit`` is written too."""
    cut, n = tile(x, summed=True), len(x)
    parts = _empty(x, 2, n, cut.parts, cut.channels)
    sums = parts if cut.parts == 1 else _empty(x, 2, n, cut.channels)
    # Without a gate, or an SC-Module, these are not read.
    scale, shift = (gate.scale, gate.shift) if gate else (mean, mean)
    module = [mean if tensor is None else tensor for tensor in (rstd, hidden, fc2_weight, dlogit)]
    launch(
        x, 'sums.products', cut.programs,
        dy, x, mean.contiguous(), scale, shift, *parts, counters(x, n), *sums, *module,
        fc2_scale, cut.channels, cut.places, cut.tiles, cut.parts, units, inputs, outputs,
        SC=dlogit is not None, **_activation(gate and gate.bounds), **_of_a_sample(cut, units),
    )  # fmt: skip
    return sums.view(2, n, cut.channels).unbind()


def _empty(x: Tensor, *size: int) -> Tensor:
    return x.new_empty(size, dtype=torch.float32)


def _activation(bounds: tuple[float, float] | None) -> dict[str, Any]:
    low, high = bounds or (-math.inf, math.inf)
    return {'BOUNDED': bounds is not None, 'LOW': low, 'HIGH': high}


def _sizes(fc1_weight: Tensor, fc2_weight: Tensor) -> tuple[int, int, int]:
    """Hidden units, inputs and outputs of a group of the second layer."""
    units, inputs = len(fc1_weight), fc2_weight.shape[1]
    return units, inputs, len(fc2_weight) * inputs // units


def _of_a_sample(cut: Tiling, units: int) -> dict[str, int]:
    """Constants of a kernel over a map whose last program of a sample goes on."""
    block_p, blocks = power_of_2(cut.parts), _blocks(units, cut.channels, BESIDE)
    return cut.constants | {
        'BLOCK_P': block_p,
        'SUMMED_C': min(power_of_2(cut.channels), max(BESIDE // block_p, 1)),
        'SC_C': blocks['BLOCK_C'],
        'SC_H': blocks['BLOCK_H'],
        'num_warps': WARPS,
    }


def _blocks(units: int, channels: int, numbers: int) -> dict[str, int]:
    """All hidden units at once, and as many channels as go with them."""
    block_h = power_of_2(units)
    block_c = min(power_of_2(channels), max(numbers // block_h, 1))
    num_warps = min(max(block_h * block_c // OF_A_WARP, 1), 16)
    return {'BLOCK_C': block_c, 'BLOCK_H': block_h, 'num_warps': num_warps}


def _between(size: int, largest: int) -> int:
    return min(max(power_of_2(size), CHANNELS), largest)
