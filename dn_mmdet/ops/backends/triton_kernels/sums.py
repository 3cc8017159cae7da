"""Kernels that sum a map, in parts: a part is some tiles of a sample, one after another.

Parts lie as (N, parts, C).
"""

import triton
import triton.language as tl

from .tiles import channels_of, gate, locate, take

__all__ = ['means', 'merge_moments', 'moments', 'products']

_SIZES = ['channels', 'places', 'tiles', 'parts']


@triton.jit(do_not_specialize=_SIZES)
def means(
    x_ptr,
    mean_ptr,
    channels,
    places,
    tiles,
    parts,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """What each part adds to the mean of its sample and channel."""
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    total = tl.zeros([BLOCK_C, BLOCK_S], tl.float32)
    for i in range(tiles):
        at, inside = locate(sample, c, part * tiles + i, channels, places, PLANAR, UNIT, BLOCK_S)
        total += tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    to = (sample * parts + part) * channels + c
    tl.store(mean_ptr + to, tl.sum(total, axis=1) / places, mask=c < channels)


@triton.jit(do_not_specialize=_SIZES)
def moments(
    x_ptr,
    mean_ptr,
    square_ptr,
    channels,
    places,
    tiles,
    parts,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Mean of each part, and sum of squares about it.

    The first tile is centered while it is in registers; its mean is then the pivot about which
    the others are summed. However far it lies from theirs, it is 1 / tiles of the part, so what
    the last subtraction loses is at most as many times the rounding of float32.
    """
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    first = part * tiles
    at, inside = locate(sample, c, first, channels, places, PLANAR, UNIT, BLOCK_S)
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    start = first * BLOCK_S
    pivot = tl.sum(x, axis=1) / tl.minimum(places - start, BLOCK_S).to(tl.float32)
    # Of an infinite number, infinity minus infinity would hide that the mean is infinite.
    pivot = tl.where(tl.abs(pivot) < float('inf'), pivot, 0.0)[:, None]
    centered = tl.where(inside, x - pivot, 0.0)
    total, squares = centered, centered * centered
    for i in range(1, tiles):
        at, inside = locate(sample, c, first + i, channels, places, PLANAR, UNIT, BLOCK_S)
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        centered = tl.where(inside, x - pivot, 0.0)
        total += centered
        squares += centered * centered
    count = tl.minimum(places - start, tiles * BLOCK_S).to(tl.float32)
    error = tl.sum(total, axis=1)[:, None] / count
    square = tl.sum(squares, axis=1)[:, None] - error * error * count
    to = ((sample * parts + part) * channels + c)[:, None]
    known = (c < channels)[:, None]
    tl.store(mean_ptr + to, pivot + error, mask=known)
    tl.store(square_ptr + to, tl.where(square < 0, 0.0, square), mask=known)


@triton.jit(do_not_specialize=_SIZES)
def products(
    dy_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    sum_ptr,
    product_ptr,
    channels,
    places,
    tiles,
    parts,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """``sum dy`` and ``sum dy (x - mean)`` of each part, of the gated dy."""
    sample, block, part = take(channels, parts, BLOCK_C)
    c = channels_of(block, BLOCK_C)
    plane = sample * channels + c
    mean = tl.load(mean_ptr + c, mask=c < channels, other=0.0)[:, None]
    if BOUNDED:
        scale = tl.load(scale_ptr + plane, mask=c < channels, other=0.0)[:, None]
        shift = tl.load(shift_ptr + plane, mask=c < channels, other=0.0)[:, None]
    sums = tl.zeros([BLOCK_C, BLOCK_S], tl.float32)
    products = tl.zeros([BLOCK_C, BLOCK_S], tl.float32)
    for i in range(tiles):
        at, inside = locate(sample, c, part * tiles + i, channels, places, PLANAR, UNIT, BLOCK_S)
        dy = tl.load(dy_ptr + at, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        if BOUNDED:
            dy = gate(dy, x, scale, shift, LOW, HIGH)
        sums += dy
        # Past the last place dy is 0, but the mean may be infinite.
        products += tl.where(inside, dy * (x - mean), 0.0)
    to = (sample * parts + part) * channels + c
    tl.store(sum_ptr + to, tl.sum(sums, axis=1), mask=c < channels)
    tl.store(product_ptr + to, tl.sum(products, axis=1), mask=c < channels)


@triton.jit(do_not_specialize=['samples', 'channels', 'places', 'size', 'parts'])
def merge_moments(
    part_mean_ptr,
    part_square_ptr,
    means_ptr,
    mean_ptr,
    var_ptr,
    samples,
    channels,
    places,
    size,
    parts,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Chan's merge of parts of ``size`` places: first over a sample, then over all.

    A program takes some channels. All means are relative to that of the first part.
    """
    c = channels_of(tl.program_id(0), BLOCK_C)
    known = c < channels
    pivot = tl.load(part_mean_ptr + c, mask=known, other=0.0)
    pivot = tl.where(tl.abs(pivot) < float('inf'), pivot, 0.0)
    part = tl.arange(0, BLOCK_P)
    count = tl.minimum(tl.maximum(places - part.to(tl.int64) * size, 0), size).to(tl.float32)
    count = count[None, :, None]
    total = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    for start in range(0, samples, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        mean, _, here = _parts(
            part_mean_ptr, part_square_ptr, n, part, c, pivot, samples, channels, parts
        )
        mean = tl.sum(mean * (count / places), axis=1)
        total += mean
        tl.store(means_ptr + n[:, None] * channels + c[None, :], pivot[None, :] + mean, mask=here)
    error = tl.sum(total, axis=0) / samples
    squares = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    for start in range(0, samples, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        mean, square, here = _parts(
            part_mean_ptr, part_square_ptr, n, part, c, pivot, samples, channels, parts
        )
        spread = mean - error[None, None, :]
        square = tl.sum(square + spread * spread * count, axis=1)
        squares += tl.where(here, square, 0.0)
    tl.store(mean_ptr + c, pivot + error, mask=known)
    tl.store(var_ptr + c, tl.sum(squares, axis=0) / samples / places, mask=known)


@triton.jit
def _parts(mean_ptr, square_ptr, n, part, c, pivot, samples, channels, parts):
    """Means less the pivot and squares of all parts of some samples: (n, part, c); (n, c) there."""
    at = (n[:, None, None] * parts + part[None, :, None]) * channels + c[None, None, :]
    here = (n < samples)[:, None] & (c < channels)[None, :]
    inside = here[:, None, :] & (part < parts)[None, :, None]
    mean = tl.load(mean_ptr + at, mask=inside, other=0.0)
    square = tl.load(square_ptr + at, mask=inside, other=0.0)
    return tl.where(inside, mean - pivot[None, None, :], 0.0), square, here
