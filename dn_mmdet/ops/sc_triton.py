"""The SC-Module in Triton: one launch in the forward, two in the backward."""

import torch
from torch import Tensor

from .sc_aten import ScGradients
from .triton_kernels.tiling import ceil_div, power_of_2
from .triton_launch import launch

__all__ = ['sc_backward', 'sc_forward']

# Weights that a program holds at once, and how many of them a warp.
TILE, OF_A_WARP = 4096, 256
# What a program takes at a time where it sums over samples; the first is the smallest block of a
# matrix product, and the others no smaller.
CHANNELS, SAMPLES, UNITS = 16, 64, 64


def sc_forward(
    means: Tensor,
    mean: Tensor,
    var: Tensor,
    fc1_weight: Tensor,
    fc1_bias: Tensor,
    fc2_weight: Tensor,
    alpha_offset: Tensor,
    lambda_offset: Tensor,
    eps: float,
    normalized: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`dn_mmdet.ops.sc_aten.sc_forward`."""
    (n, c), units = means.shape, len(fc1_weight)
    given = means, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset
    rstd, hidden = mean.new_empty(c), means.new_empty(n, units)
    scale, shift = means.new_empty(n, c), means.new_empty(n, c)
    launch(
        means, 'sc.forward', n, *(tensor.contiguous() for tensor in given),
        rstd, hidden, scale, shift, eps, c, *_sizes(fc1_weight, fc2_weight),
        NORMALIZED=normalized, **_blocks(units, c),
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
    count: int,
    normalized: bool,
    detach_gap: bool,
) -> ScGradients:
    """As :func:`dn_mmdet.ops.sc_aten.sc_backward`, of one process."""
    (n, c), units = means.shape, len(fc1_weight)
    sizes = _sizes(fc1_weight, fc2_weight)
    mean, fc1_weight, fc2_weight = (
        tensor.contiguous() for tensor in (mean, fc1_weight, fc2_weight)
    )
    dlogit = torch.empty_like(hidden)
    launch(
        means, 'sc.backward_of_samples', n,
        sums, products, rstd, hidden, fc2_weight, dlogit, c, *sizes, **_blocks(units, c),
    )  # fmt: skip
    gradients = ScGradients(
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
        1 / count if count else 0.0, 1 / places, n, c, *sizes,
        TRAINING=bool(count), NORMALIZED=normalized, DETACHED=detach_gap,
        BLOCK_N=block_n, BLOCK_C=CHANNELS, BLOCK_H=block_h,
    )  # fmt: skip
    return gradients


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
