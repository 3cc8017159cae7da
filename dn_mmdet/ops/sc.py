"""The arithmetic of the SC-Module (section 3 of the paper), forward and backward.

It works on numbers per sample and channel, (N, C), between the two passes over a map. With W1, b1,
W2 the weights of its two layers, W2 in groups and without bias, and g the spatial means of the map:

    h = sigmoid(s W1 c + b1)
    alpha, lambda = offsets + split(k W2 h)

c is g, or (g - mu) r, and the factors s and k are 1 in the paper's form; docs/method.md says what
others are good for. They scale sums that are taken anyway.

With S = H W, M = N S, r = (var + eps)^-1/2, mu the mean, dg the gradient of g, S1 and S2 the sums
and products of the backward's first pass:

    scale = alpha r,  shift = lambda - scale mu
    d lambda = S1,  d alpha = r S2
    T1 = sum_n scale S1,  T2 = sum_n scale r S2      over all processes; 0 with frozen statistics
    slope = -r T2 / M
    offset = dg / S - T1 / M - slope mu

and the gradient of the map is ``scale dy + slope x + offset``. Where c = (g - mu) r, its gradient
dc reaches mu and r as well: dg = r dc, and T1 and T2 grow by sum_n r dc and sum_n r dc (g - mu) r.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    'SCForm',
    'SCGradients',
    'SCWeights',
    'SC_INPUTS',
    'first_layer',
    'grouped_linear',
    'sc_backward',
    'sc_forward',
    'scale_shift',
]


# What the first layer sees: the means as they are, or normalized with the layer's statistics.
SC_INPUTS = ('raw', 'normalized')


class SCForm(NamedTuple):
    """How the weights of the SC-Module enter: what is neither a tensor nor a size.

    Attributes:
        normalized (bool): Whether the first layer sees ``(means - mean) * r``. Defaults to False.
        fc1_scale (float): s, the factor of ``W1 c``. Defaults to 1.0.
        fc2_scale (float): k, the factor of ``W2 h``. Defaults to 1.0.
    """

    normalized: bool = False
    fc1_scale: float = 1.0
    fc2_scale: float = 1.0


class SCWeights(NamedTuple):
    """What makes scale and shift of a map from its means.

    Attributes:
        fc1_weight (Tensor): W1, shape (H, C).
        fc1_bias (Tensor): b1, shape (H,).
        fc2_weight (Tensor): W2, shape (2C, g), in H // g groups; the rows of alpha come first.
        alpha_offset (Tensor): Shape (C,).
        lambda_offset (Tensor): Shape (C,).
    """

    fc1_weight: Tensor
    fc1_bias: Tensor
    fc2_weight: Tensor
    alpha_offset: Tensor
    lambda_offset: Tensor


class SCGradients(NamedTuple):
    """Gradients of the weights, and what the gradient of the map is made of.

    Attributes:
        fc1_weight (Tensor): Shape (H, C).
        fc1_bias (Tensor): Shape (H,).
        fc2_weight (Tensor): Shape (2C, g).
        alpha_offset (Tensor): Shape (C,).
        lambda_offset (Tensor): Shape (C,).
        slope (Tensor): Shape (C,).
        offset (Tensor): Shape (N, C).
    """

    fc1_weight: Tensor
    fc1_bias: Tensor
    fc2_weight: Tensor
    alpha_offset: Tensor
    lambda_offset: Tensor
    slope: Tensor
    offset: Tensor


def scale_shift(
    context: Tensor, weights: SCWeights, fc1_scale: float = 1.0, fc2_scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """What the SC-Module adds to the offsets of alpha and lambda.

    Args:
        context (Tensor): c, shape (N, C), one number per sample and channel.
        weights (SCWeights): Of the dtype of ``context``.
        fc1_scale (float): Factor of ``W1 c``. Defaults to 1.0.
        fc2_scale (float): Factor of ``W2 h``. Defaults to 1.0.

    Returns:
        tuple[Tensor, Tensor, Tensor]: The changes of alpha and of lambda, each (N, C), and the
        hidden units behind them, (N, H).
    """
    hidden = first_layer(context, weights.fc1_weight, weights.fc1_bias, fc1_scale).sigmoid()
    groups = _groups(weights.fc1_weight, weights.fc2_weight)
    delta = grouped_linear(hidden, weights.fc2_weight, groups, fc2_scale)
    alpha, shift = delta.chunk(2, dim=1)
    return alpha, shift, hidden


def sc_forward(
    means: Tensor, mean: Tensor, var: Tensor, weights: SCWeights, eps: float, form: SCForm
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scale and shift of the map itself, and what the backward needs.

    Args:
        means (Tensor): Means of the map per sample and channel, (N, C).
        mean (Tensor): Of the statistics, (C,).
        var (Tensor): Biased variance of the statistics, (C,).
        weights (SCWeights): Of the dtype of ``means``.
        eps (float): Added to the variance.
        form (SCForm): How the weights enter.

    Returns:
        tuple[Tensor, Tensor, Tensor, Tensor]: r, (C,); hidden units, (N, H); scale and shift, each
        (N, C).
    """
    rstd = torch.rsqrt(var + eps)
    context = (means - mean) * rstd if form.normalized else means
    alpha, shift, hidden = scale_shift(context, weights, form.fc1_scale, form.fc2_scale)
    scale = (alpha + weights.alpha_offset) * rstd
    shift = (shift + weights.lambda_offset).addcmul_(scale, mean, value=-1)
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
    count: float | Tensor,
    form: SCForm,
    detach_gap: bool,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> SCGradients:
    """All gradients but that of the map itself.

    Args:
        sums (Tensor): S1, (N, C).
        products (Tensor): S2, (N, C).
        means (Tensor): As in :func:`sc_forward`.
        mean (Tensor): As in :func:`sc_forward`.
        rstd (Tensor): r, (C,).
        hidden (Tensor): (N, H).
        scale (Tensor): (N, C).
        fc1_weight (Tensor): (H, C).
        fc2_weight (Tensor): (2C, g).
        places (int): S.
        count (float | Tensor): M over all processes, or 0 where statistics are frozen.
        form (SCForm): As in :func:`sc_forward`.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        reduce (Callable, optional): Sums T1 and T2, stacked to (2, C), over processes. Defaults to
            None, for this process alone.

    Returns:
        SCGradients: Of the dtype of ``means``.
    """
    dalpha = products * rstd
    ddelta = torch.cat((dalpha, sums), dim=1)
    # Each factor scales the fewest numbers that both gradients behind it are made of.
    dhidden, dfc2_weight = _grouped_linear_backward(
        ddelta, _scaled(hidden, form.fc2_scale), fc2_weight, _groups(fc1_weight, fc2_weight)
    )
    dlogit = dhidden * _scaled(hidden - hidden * hidden, form.fc2_scale)
    dproduct = _scaled(dlogit, form.fc1_scale)
    context = (means - mean) * rstd if form.normalized else means
    dcontext = torch.zeros_like(means) if detach_gap else dproduct @ fc1_weight
    if form.normalized:
        dcontext *= rstd
    offset = dcontext / places
    slope = torch.zeros_like(rstd)
    if isinstance(count, Tensor) or count:
        terms = torch.stack((scale * sums, scale * dalpha))
        if form.normalized:
            terms += torch.stack((dcontext, dcontext * context))
        totals = terms.sum(1)
        t1, t2 = totals if reduce is None else reduce(totals)
        slope = rstd * t2 / -count
        offset -= (t1 / count).addcmul_(slope, mean)
    return SCGradients(
        dproduct.t() @ context,
        dlogit.sum(0),
        dfc2_weight,
        dalpha.sum(0),
        sums.sum(0),
        slope,
        offset,
    )


def first_layer(context: Tensor, weight: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """``scale * W1 c + b1``, in one operator.

    Args:
        context (Tensor): c, shape (N, C).
        weight (Tensor): W1, shape (H, C).
        bias (Tensor): b1, shape (H,).
        scale (float): Factor of the products. Defaults to 1.0.

    Returns:
        Tensor: Shape (N, H).
    """
    if scale == 1:
        return F.linear(context, weight, bias)
    return torch.addmm(bias, context, weight.t(), alpha=scale)


def grouped_linear(hidden: Tensor, weight: Tensor, groups: int, scale: float = 1.0) -> Tensor:
    """Fully connected layer in groups, without bias.

    Args:
        hidden (Tensor): Shape (N, H).
        weight (Tensor): Shape (out, H // groups).
        groups (int): Number of groups, each with H / groups inputs and out / groups outputs.
        scale (float): Factor of the outputs. Defaults to 1.0.

    Returns:
        Tensor: Shape (N, out).
    """
    # The inputs are fewer.
    hidden = _scaled(hidden, scale)
    if groups == 1:
        return F.linear(hidden, weight)
    if torch.jit.is_tracing():
        # FLOP counters and exporters know convolutions better.
        maps = F.conv2d(hidden[:, :, None, None], weight[:, :, None, None], groups=groups)
        return maps.flatten(1)
    hidden = hidden.view(hidden.shape[0], groups, weight.shape[1])
    weight = weight.view(groups, -1, weight.shape[1])
    return torch.einsum('ngi,goi->ngo', hidden, weight).flatten(1)


def _grouped_linear_backward(
    dout: Tensor, hidden: Tensor, weight: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the hidden numbers and of the weight."""
    if groups == 1:
        return dout @ weight, dout.t() @ hidden
    n, inputs = len(hidden), weight.shape[1]
    dout = dout.view(n, groups, len(weight) // groups)
    hidden = hidden.view(n, groups, inputs)
    if inputs == 1:
        dweight = (dout * hidden).sum(0).view_as(weight)
        return (dout * weight.view(groups, -1)).sum(2), dweight
    weights = weight.view(groups, -1, inputs)
    dhidden = torch.einsum('ngo,goi->ngi', dout, weights).flatten(1)
    return dhidden, torch.einsum('ngo,ngi->goi', dout, hidden).reshape_as(weight)


def _scaled(numbers: Tensor, scale: float) -> Tensor:
    return numbers if scale == 1 else numbers * scale


def _groups(fc1_weight: Tensor, fc2_weight: Tensor) -> int:
    return fc1_weight.shape[0] // fc2_weight.shape[1]
