"""Calls of the operator drawn by hypothesis, and how exact their results can be."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from dn_mmdet.ops import dynamic_batch_norm, recompute_outputs, use_path
from dn_mmdet.ops.activation import ACTIVATIONS
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.tolerances import SUMMED

# Numbers of a map: a few milliseconds in float64.
MAX_SIZE = 2 * 10**5
LARGEST = 65
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
MODES = ('training', 'frozen', 'evaluation')
RESULTS = ('y', 'running_mean', 'running_var', 'x.grad', 'fc1_weight.grad', 'fc1_bias.grad',
           'fc2_weight.grad', 'alpha_offset.grad', 'lambda_offset.grad', 'k.grad')  # fmt: skip


@st.composite
def shapes(draw):
    """(N, C, H, W), each from 1 to 65, of at least two values per channel."""
    sizes, rest = [1] * 4, MAX_SIZE
    for axis in draw(st.permutations(range(4))):
        sizes[axis] = draw(st.integers(1, min(LARGEST, rest)))
        rest //= sizes[axis]
    if sizes[0] * sizes[2] * sizes[3] == 1:
        sizes[draw(st.sampled_from((0, 2, 3)))] = 2
    return tuple(sizes)


@dataclass
class Case:
    """Arguments of a call, the gradient of its output, and where the input comes from."""

    x: Tensor
    running: tuple[Tensor, Tensor]
    parameters: list[Tensor]
    dy: Tensor
    mode: str
    options: dict


@st.composite
def cases(draw):
    """Every layout, dtype, mode and option."""
    shape, dtype = draw(shapes()), draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    c = shape[1]
    divisors = [groups for groups in range(1, 9) if 2 * c % groups == 0]
    groups, inputs = draw(st.sampled_from(divisors)), draw(st.integers(1, 4))
    mean, std = draw(st.sampled_from([(0, 1), (1, 1), (-3, 0.01), (1000, 1), (0, 30)]))
    x = _strided(draw, (mean + std * normal(*shape)).to(dtype))
    # The sigmoid must not saturate, or nothing would be tested.
    units = groups * inputs
    scales = draw(st.sampled_from([(1.0, 1.0), (c**-0.5, 2 / inputs**0.5), (3.0, 0.25)]))
    fc1_weight = normal(units, c) / (c**0.5 * (abs(mean) + std) * scales[0])
    parameters = [fc1_weight, normal(units), normal(2 * c, inputs) / inputs**0.5,
                  normal(c) + 1, normal(c)]  # fmt: skip
    running = (mean + std * normal(c), (std * normal(c).exp()) ** 2)
    return Case(
        x,
        tuple(buffer.float() for buffer in running),
        [parameter.float() for parameter in parameters],
        _strided(draw, normal(*shape).to(dtype)),
        draw(st.sampled_from(MODES)),
        {
            'momentum': draw(st.sampled_from([0.0, 0.1, 1.0])),
            'sc_input': draw(st.sampled_from(['raw', 'normalized'])),
            'detach_gap': draw(st.booleans()),
            'activation': draw(st.sampled_from([None, *ACTIVATIONS])),
            'fc1_scale': scales[0],
            'fc2_scale': scales[1],
        },
    )


def _strided(draw, x):
    """The same size in another layout, with the numbers of ``x``, or some of them."""
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == 'channels_last':
        return x.contiguous(memory_format=torch.channels_last)
    if layout == 'sliced':
        return torch.cat([x, x], dim=3).repeat_interleave(2, dim=2)[:, :, ::2, x.shape[3] :]
    if layout == 'every second channel':
        return x.repeat_interleave(2, dim=1)[:, ::2]
    if layout == 'transposed':
        return x.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == 'batch last':
        return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    if layout == 'expanded':
        return x[:, :, :, :1].expand_as(x) if x.shape[0] * x.shape[2] > 1 else x
    return x


LAYOUTS = ('contiguous', 'channels_last', 'sliced', 'every second channel', 'transposed',
           'batch last', 'expanded')  # fmt: skip


def run(case, path, recompute=False):
    """All results of a call, by name."""
    running = [buffer.clone() for buffer in case.running]
    leaves = [case.x.detach(), *(parameter.clone() for parameter in case.parameters)]
    for leaf in leaves:
        leaf.requires_grad_(case.mode != 'evaluation')
    with use_path(path), recompute_outputs() if recompute else nullcontext():
        y = dynamic_batch_norm(
            leaves[0], *running, *leaves[1:], training=case.mode == 'training', **case.options
        )
        results = [y.detach(), *running]
        if case.mode != 'evaluation':
            # An operation that keeps the output, as a convolution would.
            k = torch.ones_like(y, requires_grad=True)
            results += torch.autograd.grad(y * k, [*leaves, k], case.dy)
    return dict(zip(RESULTS, results))


def in_float64(case):
    """The same call, as exact as can be."""
    return replace(
        case,
        x=case.x.double(),
        running=[buffer.double() for buffer in case.running],
        parameters=[parameter.double() for parameter in case.parameters],
        dy=case.dy.double(),
    )


def error_scales(wide):
    """For each result, what float32 rounds on the way to it, to be multiplied by a few ulps.

    Differences from the mean, in standard deviations, are known to about x / std of them, and
    sums to the rounding of their terms. Sizes are those of the results, or broadcast to them.
    """
    x, dy, eps = wide.x, wide.dy, 1e-5
    fc1_weight, _, fc2_weight, alpha_offset, lambda_offset = wide.parameters
    fc1_scale, fc2_scale = (wide.options[name] for name in ('fc1_scale', 'fc2_scale'))
    fc1_weight, fc2_weight = fc1_scale * fc1_weight, fc2_scale * fc2_weight
    mean, var = wide.running
    if wide.mode == 'training':
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    c, largest = x.shape[1], x.abs().amax((0, 2, 3)).maximum(mean.abs())
    rstd = (var + eps).rsqrt()
    lost = 1 + largest * rstd
    # Of scale and shift, and of what the SC-Module makes of an error of its input.
    sizes = fc2_weight.abs().sum(1)
    alpha, shift = alpha_offset.abs() + sizes[:c], lambda_offset.abs() + sizes[c:]
    context = lost if wide.options['sc_input'] == 'normalized' else largest
    units = 1 + (fc1_weight * context).norm(dim=1)
    wrong = units.max() * fc2_weight.norm(dim=1)
    y = (alpha + wrong[:c]) * lost + shift + wrong[c:]
    # Of the sums over a plane: as of numbers of one sign, or of random ones.
    sums = SUMMED * (dy.sum((2, 3)).abs() + 4 * dy.flatten(2).norm(dim=2))
    products = sums * lost
    units_grad = 0.25 * products.norm(dim=1).mul(units.max()) * fc2_weight.norm(dim=0).max()
    gap = units_grad.max() * fc1_weight.norm(dim=0) / (x.shape[2] * x.shape[3])
    if wide.options['sc_input'] == 'normalized':
        gap = gap * rstd * lost
    total = units_grad.norm()
    return dict(zip_strict(RESULTS, (
        y[:, None, None], largest, SUMMED * (var + largest * var.sqrt()),
        (rstd * (alpha + wrong[:c]) * lost * dy.abs().amax() + gap)[:, None, None],
        fc1_scale * total * context, total,
        fc2_scale * products.norm(dim=0).repeat(2)[:, None] * units.max(),
        products.norm(dim=0), sums.norm(dim=0),
        dy.abs() * y[:, None, None],
    )))  # fmt: skip
