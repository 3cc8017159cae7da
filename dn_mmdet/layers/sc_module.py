"""The SC-Module of Dynamic Normalization (sections 3 and 4.4 of the paper)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..ops.precision import cast
from ..ops.sc import first_layer, grouped_linear
from .validation import check_choice, check_gain, check_groups, check_positive_int

__all__ = ['GAIN', 'PARAMETERIZATION', 'SCModule', 'hidden_width']

STARTS = ('identity', 'paper')
PARAMETERIZATIONS = ('paper', 'conditioned')
# Name of a gain to the power of 2 / sqrt(inputs of a group) that it is.
GAINS = {'bn': 1.0, 'sqrt_bn': 0.5}
# What all layers do unless they are told.
PARAMETERIZATION, GAIN = 'paper', 1.0


class SCModule(nn.Module):
    """Two fully connected layers that make scale and shift from per-channel statistics.

    ``h = sigmoid(s W1 x + b1)``, ``delta_alpha, delta_lambda = split(k W2 h)``, where W2 has no
    bias and works in H // g groups of g inputs and 2C / groups outputs. The factors s and k are 1
    in the paper's form.

    They do not change what the module can compute, but how fast gradient descent changes it. A
    step of rate eta moves the logit of a unit by ``eta s^2 |x|^2`` of its gradient, and what all
    samples share of an output by ``eta k^2 |h|^2`` of its own. ``|x|^2`` sums over C channels and
    ``|h|^2``, about inputs / 4, over the inputs of a group. With ``s = 1 / sqrt(C)``, and x of
    order one, a unit moves as a single weight does, however wide the layer is; with
    ``k = 2 / sqrt(inputs)`` an output moves as BatchNorm's gamma and beta would. docs/method.md
    has it in full.

    The weights are bare parameters, not ``nn.Linear`` or ``nn.Conv2d`` modules, and none is
    called ``weight`` or ``bias``: the weight initialization of a detector (``init_cfg`` with
    ``layer='Conv2d'``, mmcv's ``ConvModule.init_weights``) would otherwise overwrite them.

    Args:
        num_channels (int): Number of channels C.
        r (int): Reduction ratio; H is ``hidden_width(num_channels, r, g)``. Defaults to 16.
        g (int | str): Input channels of each group of W2, or 'oup' for one dense layer.
            Defaults to 1.
        start (str): 'identity' starts with W2 = 0, so both outputs are 0. 'paper' draws W1
            and W2 as the classification code that the paper builds on does (normal, He fan-out;
            b1 = 0). Defaults to 'identity'.
        parameterization (str): 'paper' for s = 1. 'conditioned' for s = 1 / sqrt(C), with W1
            drawn sqrt(C) times as large, so that ``s W1`` starts as before, and b1 at 0. Defaults
            to 'paper'.
        gain (float | str): k, or 'bn' for 2 / sqrt(inputs of a group), or 'sqrt_bn' for the
            square root of that, between 1 and it. Defaults to 1.0, as in the paper.
        device (torch.device, optional): Where the weights are made.
        dtype (torch.dtype, optional): Dtype of the weights.

    Raises:
        TypeError: ``num_channels``, ``r``, ``g`` or ``gain`` is not of the type above.
        ValueError: An argument is out of range.
    """

    # Modules that were pickled whole before there was another form have none of their own.
    parameterization, gain, fc1_scale, fc2_scale = 'paper', 1.0, 1.0, 1.0

    def __init__(
        self,
        num_channels: int,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.num_channels = check_positive_int('num_channels', num_channels)
        self.r = check_positive_int('r', r)
        self.g = check_groups(g)
        self.start = check_choice('start', start, STARTS)
        hidden = hidden_width(num_channels, r, g)
        inputs = hidden if g == 'oup' else g
        self.groups = hidden // inputs
        self.parameterization = check_choice(
            'parameterization', parameterization, PARAMETERIZATIONS
        )
        self.gain = check_gain(gain, list(GAINS))
        self.fc1_scale = 1.0 if parameterization == 'paper' else num_channels**-0.5
        self.fc2_scale = (2 / inputs**0.5) ** GAINS[gain] if gain in GAINS else self.gain
        options = {'device': device, 'dtype': dtype}
        self.fc1_weight = nn.Parameter(torch.empty(hidden, num_channels, **options))
        self.fc1_bias = nn.Parameter(torch.empty(hidden, **options))
        self.fc2_weight = nn.Parameter(torch.empty(2 * num_channels, inputs, **options))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights again, as ``start`` says; with their factors they start alike."""
        if self.start == 'paper':
            nn.init.kaiming_normal_(self.fc1_weight, mode='fan_out')
            nn.init.zeros_(self.fc1_bias)
            nn.init.kaiming_normal_(self.fc2_weight, mode='fan_out')
        else:
            # The start of nn.Linear.
            bound = 1 / math.sqrt(self.num_channels)
            nn.init.kaiming_uniform_(self.fc1_weight, a=math.sqrt(5))
            nn.init.uniform_(self.fc1_bias, -bound, bound)
            nn.init.zeros_(self.fc2_weight)
        if self.parameterization == 'conditioned':
            nn.init.zeros_(self.fc1_bias)  # Every unit starts at 1/2.
        with torch.no_grad():
            self.fc1_weight.div_(self.fc1_scale)
            self.fc2_weight.div_(self.fc2_scale)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Make the changes of scale and shift.

        Args:
            x (Tensor): Shape (N, C).

        Returns:
            tuple[Tensor, Tensor]: What is added to the offsets of alpha and lambda, each of shape
            (N, C) and of the dtype of ``x``.
        """
        return self.fc2(self.fc1(x).sigmoid())

    def fc1(self, x: Tensor) -> Tensor:
        """First layer before its sigmoid, (N, C) to (N, H)."""
        weight, bias = cast(self.fc1_weight, x.dtype), cast(self.fc1_bias, x.dtype)
        return first_layer(x, weight, bias, self.fc1_scale)

    def fc2(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Second layer, (N, H) to two tensors of shape (N, C)."""
        weight = cast(self.fc2_weight, hidden.dtype)
        return grouped_linear(hidden, weight, self.groups, self.fc2_scale).chunk(2, dim=1)

    def extra_repr(self) -> str:
        """Sizes and arguments."""
        return (
            f'{self.num_channels}, hidden={self.fc1_bias.numel()}, r={self.r}, g={self.g!r}, '
            f'start={self.start!r}, parameterization={self.parameterization!r}, gain={self.gain!r}'
        )


def hidden_width(num_channels: int, r: int, g: int | str) -> int:
    """Width H of the hidden layer.

    ``max(C // r, 1)``, rounded up to a multiple of g. The 2C outputs must divide evenly among
    the H // g groups; where they do not, H is the largest smaller multiple of g with which they
    do. In the paper's networks that is so at C = 144 with g = 2 and at C = 160 with g = 4, and
    the paper's sizes come out. For ``g='oup'`` H is ``max(C // r, 1)``.
    """
    hidden = max(num_channels // r, 1)
    if g == 'oup':
        return hidden
    groups = -(-hidden // g)
    while 2 * num_channels % groups:
        groups -= 1
    return groups * g
