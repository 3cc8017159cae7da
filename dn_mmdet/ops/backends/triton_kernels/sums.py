"""Kernels that sum a map, in parts: a part is some tiles of a sample, one after another.

Parts lie as (N, parts, C). The program that stores the last part of some channels, or of a sample,
goes on with what follows from them: see :func:`.tiles.is_last`.
"""

import triton
import triton.language as tl

from .sc import backward_of_sample, partial_logits
from .tiles import channels_of, gate, is_last, locate, take

__all__ = ['moments', 'products']

# Integers whose values would only multiply the compiled variants.
_SIZES = ['samples', 'channels', 'places', 'tiles', 'parts', 'units', 'inputs', 'outputs']


@triton.jit(do_not_specialize=_SIZES[:6])
def moments(
    x_ptr,
    part_mean_ptr,
    part_square_ptr,
    counter_ptr,
    means_ptr,
    mean_ptr,
    var_ptr,
    rstd_ptr,
    running_mean_ptr,
    running_var_ptr,
    fc1_weight_ptr,
    logit_ptr,
    momentum,
    correction,
    eps,
    samples,
    channels,
    places,
    tiles,
    parts,
    units,
    FROZEN: tl.constexpr,
    RUNNING: tl.constexpr,
    LOGITS: tl.constexpr,
    NORMALIZED: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
    MERGED: tl.constexpr,
    MERGED_N: tl.constexpr,
    MERGED_P: tl.constexpr,
    MERGED_C: tl.constexpr,
    LOGIT_N: tl.constexpr,
    LOGIT_H: tl.constexpr,
):
    """Mean of each part, and sum of squares about it; then the moments of MERGED channels.

    With FROZEN the means alone, and ``mean_ptr`` and ``var_ptr`` are read. With LOGITS what these
    channels add to the first layer of the SC-Module follows.

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
    tl.store(part_mean_ptr + to, pivot + error, mask=known)
    if not FROZEN:
        tl.store(part_square_ptr + to, tl.where(square < 0, 0.0, square), mask=known)

    number = block * BLOCK_C // MERGED
    blocks = tl.minimum(
        tl.cdiv(channels, BLOCK_C) - number * (MERGED // BLOCK_C), MERGED // BLOCK_C
    )
    if is_last(counter_ptr + number, blocks * samples * parts):
        for i in range(0, MERGED, MERGED_C):
            _merge_moments(
                number * MERGED + i + tl.arange(0, MERGED_C), part_mean_ptr, part_square_ptr,
                means_ptr, mean_ptr, var_ptr, rstd_ptr, running_mean_ptr, running_var_ptr,
                momentum, correction, eps, samples, channels, places, tiles * BLOCK_S, parts,
                FROZEN, RUNNING, MERGED_N, MERGED_P, MERGED_C,
            )  # fmt: skip
        if LOGITS:
            tl.debug_barrier()
            partial_logits(
                number, means_ptr, mean_ptr, rstd_ptr, fc1_weight_ptr, logit_ptr, samples,
                channels, units, NORMALIZED, MERGED, LOGIT_N, LOGIT_H,
            )  # fmt: skip


@triton.jit(do_not_specialize=_SIZES[1:])
def products(
    dy_ptr,
    x_ptr,
    mean_ptr,
    scale_ptr,
    shift_ptr,
    part_sum_ptr,
    part_product_ptr,
    counter_ptr,
    sum_ptr,
    product_ptr,
    rstd_ptr,
    hidden_ptr,
    fc2_weight_ptr,
    dlogit_ptr,
    fc2_scale,
    channels,
    places,
    tiles,
    parts,
    units,
    inputs,
    outputs,
    SC: tl.constexpr,
    BOUNDED: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_P: tl.constexpr,
    SUMMED_C: tl.constexpr,
    SC_C: tl.constexpr,
    SC_H: tl.constexpr,
):
    """``sum dy`` and ``sum dy (x - mean)`` of each part, of the gated dy; then of a sample.

    With SC the gradient of a sample's hidden units follows.
    """
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
    tl.store(part_sum_ptr + to, tl.sum(sums, axis=1), mask=c < channels)
    tl.store(part_product_ptr + to, tl.sum(products, axis=1), mask=c < channels)
    if is_last(counter_ptr + sample, tl.cdiv(channels, BLOCK_C) * parts):
        _sum_parts(part_sum_ptr, sum_ptr, sample, channels, parts, BLOCK_P, SUMMED_C)
        _sum_parts(part_product_ptr, product_ptr, sample, channels, parts, BLOCK_P, SUMMED_C)
        if SC:
            tl.debug_barrier()
            backward_of_sample(
                sample, sum_ptr, product_ptr, rstd_ptr, hidden_ptr, fc2_weight_ptr, dlogit_ptr,
                fc2_scale, channels, units, inputs, outputs, SC_C, SC_H,
            )  # fmt: skip


@triton.jit
def _sum_parts(
    part_ptr, sum_ptr, sample, channels, parts, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr
):
    # A single part is the sum: Python passes the same memory for both.
    if BLOCK_P > 1:
        part = tl.arange(0, BLOCK_P)
        for start in range(0, channels, BLOCK_C):
            c = start + tl.arange(0, BLOCK_C)
            at = (sample * parts + part[:, None]) * channels + c[None, :]
            inside = (part < parts)[:, None] & (c < channels)[None, :]
            total = tl.sum(tl.load(part_ptr + at, mask=inside, other=0.0), axis=0)
            tl.store(sum_ptr + sample * channels + c, total, mask=c < channels)


@triton.jit
def _merge_moments(
    c,
    part_mean_ptr,
    part_square_ptr,
    means_ptr,
    mean_ptr,
    var_ptr,
    rstd_ptr,
    running_mean_ptr,
    running_var_ptr,
    momentum,
    correction,
    eps,
    samples,
    channels,
    places,
    size,
    parts,
    FROZEN: tl.constexpr,
    RUNNING: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Chan's merge of parts of ``size`` places, of some channels: first over a sample, then all.

    All means are relative to that of the first part.
    """
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
    if FROZEN:
        var = tl.load(var_ptr + c, mask=known, other=0.0)
    else:
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
        error += pivot
        var = tl.sum(squares, axis=0) / samples / places
        tl.store(mean_ptr + c, error, mask=known)
        tl.store(var_ptr + c, var, mask=known)
        if RUNNING:
            _move(running_mean_ptr + c, error, momentum, known)
            _move(running_var_ptr + c, var * correction, momentum, known)
    tl.store(rstd_ptr + c, tl.rsqrt(var + eps), mask=known)


@triton.jit
def _move(ptr, to, momentum, known):
    """As ``torch.lerp``: from either end, so that all or nothing of the way is exact."""
    old = tl.load(ptr, mask=known, other=0.0)
    way = to - old
    new = tl.where(momentum < 0.5, old + momentum * way, to - way * (1 - momentum))
    tl.store(ptr, new, mask=known)


@triton.jit
def _parts(mean_ptr, square_ptr, n, part, c, pivot, samples, channels, parts):
    """Means less the pivot and squares of all parts of some samples: (n, part, c); (n, c) there."""
    at = (n[:, None, None] * parts + part[None, :, None]) * channels + c[None, None, :]
    here = (n < samples)[:, None] & (c < channels)[None, :]
    inside = here[:, None, :] & (part < parts)[None, :, None]
    mean = tl.load(mean_ptr + at, mask=inside, other=0.0)
    square = tl.load(square_ptr + at, mask=inside, other=0.0)
    return tl.where(inside, mean - pivot[None, None, :], 0.0), square, here
