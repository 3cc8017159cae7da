"""The SC-Module between the two passes over a map, forward and backward, on (N, C) numbers.

With S = H W, M = N S, r = (var + eps)^-1/2, mu the mean, g the means per sample and channel, dg
their gradient, S1 and S2 the sums and products of the backward's first pass:

    scale = alpha r,  shift = lambda - scale mu
    d lambda = S1,  d alpha = r S2
    T1 = sum_n scale S1,  T2 = sum_n scale r S2      over all processes; 0 with frozen statistics
    slope = -r T2 / M
    offset = dg / S - T1 / M - slope mu

and the gradient of the map is ``scale dy + slope x + offset``. Where the SC-Module sees (g - mu) r
instead of g, its gradient reaches mu and r as well: dg is replaced by r dg, and T1 and T2 grow by
sum_n r dg and sum_n r dg (g - mu) r.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['ScGradients', 'grouped_linear', 'sc_backward', 'sc_forward', 'scale_shift']


class ScGradients(NamedTuple):
    """Gradients of what is trained, and what the gradient of the map is made of."""

    fc1_weight: Tensor
    fc1_bias: Tensor
    fc2_weight: Tensor
    alpha_offset: Tensor
    lambda_offset: Tensor
    slope: Tensor
    offset: Tensor


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
    """r of shape (C,), hidden units (N, H), and scale and shift of the affine map, each (N, C).

    Args:
        means (Tensor): Means of the map per sample and channel, (N, C).
        mean (Tensor): Of the statistics, (C,).
        var (Tensor): Biased variance of the statistics, (C,).
        fc1_weight (Tensor): (H, C).
        fc1_bias (Tensor): (H,).
        fc2_weight (Tensor): (2C, g), in H // g groups.
        alpha_offset (Tensor): (C,).
        lambda_offset (Tensor): (C,).
        eps (float): Added to the variance.
        normalized (bool): Whether the SC-Module sees ``(means - mean) * r``.
    """
    rstd = torch.rsqrt(var + eps)
    context = (means - mean) * rstd if normalized else means
    hidden = F.linear(context, fc1_weight, fc1_bias).sigmoid_()
    groups = fc1_weight.shape[0] // fc2_weight.shape[1]
    alpha, shift = grouped_linear(hidden, fc2_weight, groups).chunk(2, dim=1)
    scale = (alpha + alpha_offset) * rstd
    return rstd, hidden, scale, (shift + lambda_offset).addcmul_(scale, mean, value=-1)


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
    normalized: bool,
    detach_gap: bool,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> ScGradients:
    """All gradients but that of the map itself.

    Args:
        sums (Tensor): S1, (N, C).
        products (Tensor): S2 / r, (N, C).
        means (Tensor): As in the forward.
        mean (Tensor): As in the forward.
        rstd (Tensor): r, (C,).
        hidden (Tensor): (N, H).
        scale (Tensor): (N, C).
        fc1_weight (Tensor): (H, C).
        fc2_weight (Tensor): (2C, g).
        places (int): S.
        count (float | Tensor): M over all processes, or 0 where statistics are frozen.
        normalized (bool): As in the forward.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        reduce (Callable, optional): Sums T1 and T2, stacked to (2, C), over processes.
    """
    dalpha = products * rstd
    groups = fc1_weight.shape[0] // fc2_weight.shape[1]
    ddelta = torch.cat((dalpha, sums), dim=1)
    dhidden, dfc2_weight = _grouped_linear_backward(ddelta, hidden, fc2_weight, groups)
    dlogit = dhidden * (hidden - hidden * hidden)
    context = (means - mean) * rstd if normalized else means
    dcontext = torch.zeros_like(means) if detach_gap else dlogit @ fc1_weight
    if normalized:
        dcontext *= rstd
    offset = dcontext / places
    slope = torch.zeros_like(rstd)
    if isinstance(count, Tensor) or count:
        terms = torch.stack((scale * sums, scale * dalpha))
        if normalized:
            terms += torch.stack((dcontext, dcontext * context))
        totals = terms.sum(1)
        t1, t2 = totals if reduce is None else reduce(totals)
        slope = rstd * t2 / -count
        offset -= (t1 / count).addcmul_(slope, mean)
    return ScGradients(
        dlogit.t() @ context,
        dlogit.sum(0),
        dfc2_weight,
        dalpha.sum(0),
        sums.sum(0),
        slope,
        offset,
    )


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


def scale_shift(
    context: Tensor, fc1_weight: Tensor, fc1_bias: Tensor, fc2_weight: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """What the SC-Module adds to the offsets of scale and shift.

    Args:
        context (Tensor): Shape (N, C), one number per sample and channel.
        fc1_weight (Tensor): Shape (H, C).
        fc1_bias (Tensor): Shape (H,).
        fc2_weight (Tensor): Shape (2C, H // groups).
        groups (int): Number of groups of the second layer.

    Returns:
        tuple[Tensor, Tensor]: The changes of alpha and of lambda, each (N, C).
    """
    hidden = F.linear(context, fc1_weight, fc1_bias).sigmoid()
    return grouped_linear(hidden, fc2_weight, groups).chunk(2, dim=1)


def grouped_linear(hidden: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Fully connected layer in groups, without bias.

    Args:
        hidden (Tensor): Shape (N, H).
        weight (Tensor): Shape (out, H // groups).
        groups (int): Number of groups, each with H / groups inputs and out / groups outputs.

    Returns:
        Tensor: Shape (N, out).
    """
    if groups == 1:
        return F.linear(hidden, weight)
    if torch.jit.is_tracing():
        # FLOP counters and exporters know convolutions better.
        maps = F.conv2d(hidden[:, :, None, None], weight[:, :, None, None], groups=groups)
        return maps.flatten(1)
    hidden = hidden.view(hidden.shape[0], groups, weight.shape[1])
    weight = weight.view(groups, -1, weight.shape[1])
    return torch.einsum('ngi,goi->ngo', hidden, weight).flatten(1)
