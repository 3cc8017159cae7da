"""The two fully connected layers of the SC-Module as functions of their weights."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['grouped_linear', 'scale_shift']


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
