"""Kernels that write a map: one tile a program."""

import triton
import triton.language as tl

from .sc import rows_of_fc2
from .tiles import channels_of, gate, locate, take

__all__ = ['affine', 'gradient', 'modulate']

# Integers whose values would only multiply the compiled variants.
_SIZES = ['channels', 'places', 'parts']


@triton.jit(do_not_specialize=_SIZES)
def affine(
    x_ptr,
    scale_ptr,
    shift_ptr,
    y_ptr,
    channels,
    places,
    parts,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """``y = clamp(x * scale + shift)``; NaN stays NaN."""
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    at, inside = locate(sample, c, part, channels, places, PLANAR, UNIT, BLOCK_S)
    plane = sample * channels + c
    scale = tl.load(scale_ptr + plane, mask=c < channels, other=0.0)[:, None]
    shift = tl.load(shift_ptr + plane, mask=c < channels, other=0.0)[:, None]
    _store_affine(x_ptr, y_ptr, at, inside, scale, shift, BOUNDED, LOW, HIGH)


@triton.jit(do_not_specialize=[*_SIZES, 'tiles', 'samples', 'merged', 'units', 'inputs', 'outputs'])
def modulate(
    x_ptr,
    mean_ptr,
    rstd_ptr,
    logit_ptr,
    fc1_bias_ptr,
    fc2_weight_ptr,
    alpha_offset_ptr,
    lambda_offset_ptr,
    hidden_ptr,
    scale_ptr,
    shift_ptr,
    y_ptr,
    fc1_scale,
    fc2_scale,
    samples,
    channels,
    places,
    tiles,
    parts,
    merged,
    units,
    inputs,
    outputs,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """:func:`affine` with scale and shift out of the ``merged`` parts of the first layer's sums.

    Each program makes its own, over and over the same bits: a part is several tiles, so that this
    is little beside them. Those that come first keep them, and the hidden units, for the backward.
    """
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    known = c < channels
    alpha = tl.load(alpha_offset_ptr + c, mask=known, other=0.0)
    shift = tl.load(lambda_offset_ptr + c, mask=known, other=0.0)
    m = tl.arange(0, BLOCK_M)
    for start in range(0, units, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        at = (m[:, None] * samples + sample) * units + h[None, :]
        there = (m < merged)[:, None] & (h < units)[None, :]
        logit = tl.sum(tl.load(logit_ptr + at, mask=there, other=0.0), axis=0)
        bias = tl.load(fc1_bias_ptr + h, mask=h < units, other=0.0)
        hidden = tl.sigmoid(fc1_scale * logit + bias)
        first = (h < units) & (block == 0) & (part == 0)
        tl.store(hidden_ptr + sample * units + h, hidden, mask=first)
        weight, there = rows_of_fc2(fc2_weight_ptr, c, known, h, inputs, outputs)
        alpha += fc2_scale * tl.sum(tl.where(there, weight * hidden[None, :], 0.0), axis=1)
        weight, there = rows_of_fc2(fc2_weight_ptr, channels + c, known, h, inputs, outputs)
        shift += fc2_scale * tl.sum(tl.where(there, weight * hidden[None, :], 0.0), axis=1)
    scale = alpha * tl.load(rstd_ptr + c, mask=known, other=0.0)
    shift -= scale * tl.load(mean_ptr + c, mask=known, other=0.0)
    plane = sample * channels + c
    tl.store(scale_ptr + plane, scale, mask=known & (part == 0))
    tl.store(shift_ptr + plane, shift, mask=known & (part == 0))
    for i in range(tiles):
        at, inside = locate(sample, c, part * tiles + i, channels, places, PLANAR, UNIT, BLOCK_S)
        _store_affine(x_ptr, y_ptr, at, inside, scale[:, None], shift[:, None], BOUNDED, LOW, HIGH)


@triton.jit(do_not_specialize=_SIZES)
def gradient(
    dy_ptr,
    x_ptr,
    scale_ptr,
    slope_ptr,
    offset_ptr,
    shift_ptr,
    dx_ptr,
    channels,
    places,
    parts,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """``dx = dy * scale + x * slope + offset`` of the gated dy."""
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    at, inside = locate(sample, c, part, channels, places, PLANAR, UNIT, BLOCK_S)
    plane = sample * channels + c
    scale = tl.load(scale_ptr + plane, mask=c < channels, other=0.0)[:, None]
    slope = tl.load(slope_ptr + c, mask=c < channels, other=0.0)[:, None]
    offset = tl.load(offset_ptr + plane, mask=c < channels, other=0.0)[:, None]
    dy = tl.load(dy_ptr + at, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if BOUNDED:
        shift = tl.load(shift_ptr + plane, mask=c < channels, other=0.0)[:, None]
        dy = gate(dy, x, scale, shift, LOW, HIGH)
    dx = tl.fma(dy, scale, tl.fma(x, slope, offset))
    tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _store_affine(
    x_ptr,
    y_ptr,
    at,
    inside,
    scale,
    shift,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
):
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.fma(x, scale, shift)
    if BOUNDED:
        y = tl.where(y < LOW, LOW, y)
        y = tl.where(y > HIGH, HIGH, y)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)
