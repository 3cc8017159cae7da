"""Kernels of the SC-Module, on (N, C) numbers; the formulas are in ops/sc.py.

The second layer, in groups, is computed as a full one whose other weights are 0: they are not
read, and the hidden units are few. W2 has 2C rows of ``inputs`` weights, the alphas' first, and
each ``outputs`` rows are a group.
"""

import triton
import triton.language as tl

__all__ = [
    'backward_of_channels',
    'backward_of_sample',
    'forward',
    'partial_logits',
    'rows_of_fc2',
]


@triton.jit(do_not_specialize=['units', 'inputs', 'outputs'])
def forward(
    means_ptr,
    mean_ptr,
    var_ptr,
    fc1_weight_ptr,
    fc1_bias_ptr,
    fc2_weight_ptr,
    alpha_offset_ptr,
    lambda_offset_ptr,
    rstd_ptr,
    hidden_ptr,
    scale_ptr,
    shift_ptr,
    eps,
    fc1_scale,
    fc2_scale,
    channels,
    units,
    inputs,
    outputs,
    NORMALIZED: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Hidden units, scale and shift of one sample, which is one program; rstd from the first."""
    sample = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK_H)
    total = tl.zeros([BLOCK_C, BLOCK_H], tl.float32)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        known = c < channels
        context = tl.load(means_ptr + sample * channels + c, mask=known, other=0.0)
        if NORMALIZED:
            mean = tl.load(mean_ptr + c, mask=known, other=0.0)
            var = tl.load(var_ptr + c, mask=known, other=0.0)
            context = (context - mean) * tl.rsqrt(var + eps)
        at = h[None, :] * channels + c[:, None]
        there = (h < units)[None, :] & known[:, None]
        weight = tl.load(fc1_weight_ptr + at, mask=there, other=0.0)
        total += tl.where(there, context[:, None] * weight, 0.0)
    bias = tl.load(fc1_bias_ptr + h, mask=h < units, other=0.0)
    hidden = tl.sigmoid(fc1_scale * tl.sum(total, axis=0) + bias)
    tl.store(hidden_ptr + sample * units + h, hidden, mask=h < units)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        known = c < channels
        mean = tl.load(mean_ptr + c, mask=known, other=0.0)
        var = tl.load(var_ptr + c, mask=known, other=0.0)
        rstd = tl.rsqrt(var + eps)
        tl.store(rstd_ptr + c, rstd, mask=known & (sample == 0))
        alpha = tl.load(alpha_offset_ptr + c, mask=known, other=0.0)
        shift = tl.load(lambda_offset_ptr + c, mask=known, other=0.0)
        weight, there = rows_of_fc2(fc2_weight_ptr, c, known, h, inputs, outputs)
        alpha += fc2_scale * tl.sum(tl.where(there, weight * hidden[None, :], 0.0), axis=1)
        weight, there = rows_of_fc2(fc2_weight_ptr, channels + c, known, h, inputs, outputs)
        shift += fc2_scale * tl.sum(tl.where(there, weight * hidden[None, :], 0.0), axis=1)
        scale = alpha * rstd
        tl.store(scale_ptr + sample * channels + c, scale, mask=known)
        tl.store(shift_ptr + sample * channels + c, shift - scale * mean, mask=known)


@triton.jit(do_not_specialize=['samples', 'units', 'inputs', 'outputs'])
def backward_of_channels(
    sum_ptr,
    product_ptr,
    means_ptr,
    mean_ptr,
    rstd_ptr,
    hidden_ptr,
    scale_ptr,
    dlogit_ptr,
    fc1_weight_ptr,
    dfc1_weight_ptr,
    dfc1_bias_ptr,
    dfc2_weight_ptr,
    dalpha_offset_ptr,
    dlambda_offset_ptr,
    slope_ptr,
    offset_ptr,
    inverse_count,
    inverse_places,
    fc1_scale,
    fc2_scale,
    samples,
    channels,
    units,
    inputs,
    outputs,
    TRAINING: tl.constexpr,
    NORMALIZED: tl.constexpr,
    DETACHED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """All that is summed over samples.

    For each block of channels, the first program makes what the gradient of the map needs, and
    each other one the gradients of the weights of some hidden units. Both add up products of
    matrices, BLOCK_C samples or units at a time: with more a thread would run out of registers.
    """
    blocks = tl.cdiv(channels, BLOCK_C)
    block = tl.program_id(0) % blocks
    role = tl.program_id(0) // blocks
    if role == 0:
        _gradient_of_map(
            sum_ptr, product_ptr, means_ptr, mean_ptr, rstd_ptr, scale_ptr, dlogit_ptr,
            fc1_weight_ptr, dalpha_offset_ptr, dlambda_offset_ptr, slope_ptr, offset_ptr,
            inverse_count, inverse_places, fc1_scale, block, samples, channels, units,
            TRAINING, NORMALIZED, DETACHED, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    else:
        _gradient_of_weights(
            sum_ptr, product_ptr, means_ptr, mean_ptr, rstd_ptr, hidden_ptr, dlogit_ptr,
            dfc1_weight_ptr, dfc1_bias_ptr, dfc2_weight_ptr, fc1_scale, fc2_scale, block, role - 1,
            samples, channels, units, inputs, outputs, NORMALIZED, BLOCK_C, BLOCK_H,
        )  # fmt: skip


@triton.jit
def partial_logits(
    number,
    means_ptr,
    mean_ptr,
    rstd_ptr,
    fc1_weight_ptr,
    logit_ptr,
    samples,
    channels,
    units,
    NORMALIZED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """What the MERGED channels of a block add to ``W1 c``, (blocks, N, H).

    One channel after the other: a product of matrices would take registers from all programs of
    the kernel that ends with it.
    """
    first = number * MERGED
    last = tl.minimum(first + MERGED, channels)
    for start in range(0, samples, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        for unit in range(0, units, BLOCK_H):
            h = unit + tl.arange(0, BLOCK_H)
            total = tl.zeros([BLOCK_N, BLOCK_H], tl.float32)
            for c in range(first, last):
                context = tl.load(means_ptr + n * channels + c, mask=n < samples, other=0.0)
                if NORMALIZED:
                    context = (context - tl.load(mean_ptr + c)) * tl.load(rstd_ptr + c)
                weight = tl.load(fc1_weight_ptr + h * channels + c, mask=h < units, other=0.0)
                total += context[:, None] * weight[None, :]
            at = (number * samples + n[:, None]) * units + h[None, :]
            there = (n < samples)[:, None] & (h < units)[None, :]
            tl.store(logit_ptr + at, total, mask=there)


@triton.jit
def backward_of_sample(
    sample,
    sum_ptr,
    product_ptr,
    rstd_ptr,
    hidden_ptr,
    fc2_weight_ptr,
    dlogit_ptr,
    fc2_scale,
    channels,
    units,
    inputs,
    outputs,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Gradient of the sigmoid's input, of one sample."""
    h = tl.arange(0, BLOCK_H)
    total = tl.zeros([BLOCK_C, BLOCK_H], tl.float32)
    for start in range(0, channels, BLOCK_C):
        c = start + tl.arange(0, BLOCK_C)
        known = c < channels
        dlambda = tl.load(sum_ptr + sample * channels + c, mask=known, other=0.0)
        dalpha = tl.load(product_ptr + sample * channels + c, mask=known, other=0.0)
        dalpha *= tl.load(rstd_ptr + c, mask=known, other=0.0)
        weight, there = rows_of_fc2(fc2_weight_ptr, c, known, h, inputs, outputs)
        total += tl.where(there, weight * dalpha[:, None], 0.0)
        weight, there = rows_of_fc2(fc2_weight_ptr, channels + c, known, h, inputs, outputs)
        total += tl.where(there, weight * dlambda[:, None], 0.0)
    hidden = tl.load(hidden_ptr + sample * units + h, mask=h < units, other=0.0)
    dlogit = fc2_scale * tl.sum(total, axis=0) * (hidden - hidden * hidden)
    tl.store(dlogit_ptr + sample * units + h, dlogit, mask=h < units)


@triton.jit
def _gradient_of_weights(
    sum_ptr,
    product_ptr,
    means_ptr,
    mean_ptr,
    rstd_ptr,
    hidden_ptr,
    dlogit_ptr,
    dfc1_weight_ptr,
    dfc1_bias_ptr,
    dfc2_weight_ptr,
    fc1_scale,
    fc2_scale,
    block,
    number,
    samples,
    channels,
    units,
    inputs,
    outputs,
    NORMALIZED: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    mean = tl.load(mean_ptr + c, mask=known, other=0.0)[None, :]
    rstd = tl.load(rstd_ptr + c, mask=known, other=0.0)[None, :]
    h = number * BLOCK_H + tl.arange(0, BLOCK_H)
    dfc1 = tl.zeros([BLOCK_H, BLOCK_C], tl.float32)
    dfc2_alpha = tl.zeros([BLOCK_H, BLOCK_C], tl.float32)
    dfc2_lambda = tl.zeros([BLOCK_H, BLOCK_C], tl.float32)
    dfc1_bias = tl.zeros([BLOCK_H], tl.float32)
    for start in range(0, samples, BLOCK_C):
        n = start + tl.arange(0, BLOCK_C).to(tl.int64)
        here = (n < samples)[:, None] & known[None, :]
        at = n[:, None] * channels + c[None, :]
        context = tl.load(means_ptr + at, mask=here, other=0.0)
        if NORMALIZED:
            context = tl.where(here, (context - mean) * rstd, 0.0)
        dlambda = tl.load(sum_ptr + at, mask=here, other=0.0)
        dalpha = tl.load(product_ptr + at, mask=here, other=0.0) * rstd
        at = n[None, :] * units + h[:, None]
        there = (h < units)[:, None] & (n < samples)[None, :]
        dlogit = tl.load(dlogit_ptr + at, mask=there, other=0.0)
        hidden = tl.load(hidden_ptr + at, mask=there, other=0.0)
        dfc1 = _dot(dlogit, context, dfc1)
        dfc2_alpha = _dot(hidden, dalpha, dfc2_alpha)
        dfc2_lambda = _dot(hidden, dlambda, dfc2_lambda)
        dfc1_bias += tl.sum(dlogit, axis=1)
    there = (h < units)[:, None] & known[None, :]
    tl.store(dfc1_weight_ptr + h[:, None] * channels + c[None, :], fc1_scale * dfc1, mask=there)
    at, there = _places_in_fc2(c, known, h, inputs, outputs)
    tl.store(dfc2_weight_ptr + at, fc2_scale * dfc2_alpha.trans(), mask=there)
    at, there = _places_in_fc2(channels + c, known, h, inputs, outputs)
    tl.store(dfc2_weight_ptr + at, fc2_scale * dfc2_lambda.trans(), mask=there)
    tl.store(dfc1_bias_ptr + h, dfc1_bias, mask=(h < units) & (block == 0))


@triton.jit
def _gradient_of_map(
    sum_ptr,
    product_ptr,
    means_ptr,
    mean_ptr,
    rstd_ptr,
    scale_ptr,
    dlogit_ptr,
    fc1_weight_ptr,
    dalpha_offset_ptr,
    dlambda_offset_ptr,
    slope_ptr,
    offset_ptr,
    inverse_count,
    inverse_places,
    fc1_scale,
    block,
    samples,
    channels,
    units,
    TRAINING: tl.constexpr,
    NORMALIZED: tl.constexpr,
    DETACHED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = block * BLOCK_C + tl.arange(0, BLOCK_C)
    known = c < channels
    mean = tl.load(mean_ptr + c, mask=known, other=0.0)
    rstd = tl.load(rstd_ptr + c, mask=known, other=0.0)
    # Gradients of the offsets, T1 and T2.
    dalpha_offset = tl.zeros([BLOCK_C], tl.float32)
    dlambda_offset = tl.zeros([BLOCK_C], tl.float32)
    t1 = tl.zeros([BLOCK_C], tl.float32)
    t2 = tl.zeros([BLOCK_C], tl.float32)
    for start in range(0, samples, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        here = (n < samples)[:, None] & known[None, :]
        at = n[:, None] * channels + c[None, :]
        dlambda = tl.load(sum_ptr + at, mask=here, other=0.0)
        dalpha = tl.load(product_ptr + at, mask=here, other=0.0) * rstd[None, :]
        dalpha_offset += tl.sum(dalpha, axis=0)
        dlambda_offset += tl.sum(dlambda, axis=0)
        if TRAINING:
            scale = tl.load(scale_ptr + at, mask=here, other=0.0)
            to_mean = scale * dlambda
            to_rstd = scale * dalpha
            if NORMALIZED and not DETACHED:
                dcontext = _gradient_of_context(
                    dlogit_ptr, fc1_weight_ptr, fc1_scale, n, c, rstd, samples, channels, units,
                    NORMALIZED, BLOCK_N, BLOCK_C,
                )  # fmt: skip
                context = tl.load(means_ptr + at, mask=here, other=0.0)
                context = tl.where(here, (context - mean[None, :]) * rstd[None, :], 0.0)
                to_mean += dcontext
                to_rstd += dcontext * context
            t1 += tl.sum(to_mean, axis=0)
            t2 += tl.sum(to_rstd, axis=0)
    slope = -rstd * t2 * inverse_count
    tl.store(dalpha_offset_ptr + c, dalpha_offset, mask=known)
    tl.store(dlambda_offset_ptr + c, dlambda_offset, mask=known)
    tl.store(slope_ptr + c, slope, mask=known)

    shared = tl.zeros([BLOCK_C], tl.float32)
    if TRAINING:
        shared -= t1 * inverse_count + slope * mean
    for start in range(0, samples, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        here = (n < samples)[:, None] & known[None, :]
        offset = tl.zeros([BLOCK_N, BLOCK_C], tl.float32) + shared[None, :]
        if not DETACHED:
            dcontext = _gradient_of_context(
                dlogit_ptr, fc1_weight_ptr, fc1_scale, n, c, rstd, samples, channels, units,
                NORMALIZED, BLOCK_N, BLOCK_C,
            )  # fmt: skip
            offset += dcontext * inverse_places
        tl.store(offset_ptr + n[:, None] * channels + c[None, :], offset, mask=here)


@triton.jit
def _gradient_of_context(
    dlogit_ptr,
    fc1_weight_ptr,
    fc1_scale,
    n,
    c,
    rstd,
    samples,
    channels,
    units,
    NORMALIZED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradient of what the first layer sees, (n, c), in units of the map."""
    total = tl.zeros([BLOCK_N, BLOCK_C], tl.float32)
    for first in range(0, units, BLOCK_C):
        h = first + tl.arange(0, BLOCK_C)
        there = (n < samples)[:, None] & (h < units)[None, :]
        dlogit = tl.load(dlogit_ptr + n[:, None] * units + h[None, :], mask=there, other=0.0)
        there = (h < units)[:, None] & (c < channels)[None, :]
        at = h[:, None] * channels + c[None, :]
        weight = tl.load(fc1_weight_ptr + at, mask=there, other=0.0)
        total = _dot(dlogit, weight, total)
    total *= fc1_scale
    return total * rstd[None, :] if NORMALIZED else total


@triton.jit
def _dot(a, b, total):
    # TF32 would keep three digits.
    return tl.dot(a, b, total, input_precision='ieee')


@triton.jit
def _places_in_fc2(row, known, h, inputs, outputs):
    """Where W2 keeps the weights of some rows and hidden units, and which of them there are."""
    column = h[None, :] - (row // outputs * inputs)[:, None]
    there = known[:, None] & (column >= 0) & (column < inputs)
    return row[:, None] * inputs + column, there


@triton.jit
def rows_of_fc2(weight_ptr, row, known, h, inputs, outputs):
    """Some rows of W2 for some hidden units, and which of these weights there are."""
    at, there = _places_in_fc2(row, known, h, inputs, outputs)
    return tl.load(weight_ptr + at, mask=there, other=0.0), there
