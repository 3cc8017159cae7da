"""Kernels that write a map: one tile a program."""

import triton
import triton.language as tl

from .tiles import channels_of, gate, locate, take

__all__ = ['affine', 'gradient']

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
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    y = tl.fma(x, scale, shift)
    if BOUNDED:
        y = tl.where(y < LOW, LOW, y)
        y = tl.where(y > HIGH, HIGH, y)
    tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


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
