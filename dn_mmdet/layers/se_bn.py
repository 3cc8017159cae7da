"""Squeeze-and-excitation in front of batch normalization, the baseline of the paper's Table 2."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.precision import cast, compute_dtype, without_autocast
from .state import inner_bn_from_bn_state, mark_norm
from .validation import check_eps, check_flag, check_input, check_momentum, check_positive_int

__all__ = ['SEBN']


class SEBN(nn.Module):
    """SE directly in front of BN (equations 3 to 5 of the paper).

    ``Y = BN(X * sigmoid(W2 relu(W1 g + b1) + b2))``, g the spatial mean of X, with
    ``max(C // r, 1)`` hidden units. The SE part is computed in float32 also under autocast and
    its weights are bare parameters, as those of :class:`SCModule` and for the same reasons.

    The state dict of a plain BatchNorm loads into the inner one; the SE weights then keep their
    initial values, so unlike :class:`DNB` the layer does not compute what that BatchNorm did.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        momentum (float, optional): As in ``nn.BatchNorm2d``. Defaults to 0.1.
        r (int): Reduction ratio. Defaults to 16.
        track_running_stats (bool): As in ``nn.BatchNorm2d``. Defaults to True.
        requires_grad (bool): Whether SE weights, gamma and beta are trained. Defaults to True.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _abbr_ = 'bn'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        r: int = 16,
        track_running_stats: bool = True,
        requires_grad: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.num_features = check_positive_int('num_features', num_features)
        self.r = check_positive_int('r', r)
        hidden = max(num_features // r, 1)
        options = {'device': device, 'dtype': dtype}
        self.fc1_weight = nn.Parameter(torch.empty(hidden, num_features, **options))
        self.fc1_bias = nn.Parameter(torch.empty(hidden, **options))
        self.fc2_weight = nn.Parameter(torch.empty(num_features, hidden, **options))
        self.fc2_bias = nn.Parameter(torch.empty(num_features, **options))
        self.bn = nn.BatchNorm2d(
            num_features,
            eps=check_eps(eps),
            momentum=check_momentum(momentum),
            track_running_stats=check_flag('track_running_stats', track_running_stats),
            **options,
        )
        self.reset_parameters()
        for parameter in self.parameters():
            parameter.requires_grad = check_flag('requires_grad', requires_grad)

    def reset_parameters(self) -> None:
        """Back to the start: the two layers as ``nn.Linear``, gamma 1, beta 0."""
        self.bn.reset_parameters()
        for weight, bias in (
            (self.fc1_weight, self.fc1_bias),
            (self.fc2_weight, self.fc2_bias),
        ):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels and normalize; input, output and errors as in :meth:`DNB.forward`."""
        batch_statistics = self.bn.training or self.bn.running_mean is None
        alone = type(self.bn) is nn.BatchNorm2d
        check_input(x, self.num_features, self.fc1_bias.dtype, alone and batch_statistics)
        dtype = compute_dtype(self.fc1_bias.dtype)
        with without_autocast(x):
            context = cast(x, dtype).mean((2, 3))
            hidden = F.linear(context, cast(self.fc1_weight, dtype), cast(self.fc1_bias, dtype))
            gate = F.linear(
                hidden.relu(), cast(self.fc2_weight, dtype), cast(self.fc2_bias, dtype)
            ).sigmoid()
            weighted = cast(x, dtype) * gate[:, :, None, None]
            return cast(self.bn(cast(weighted, self.fc1_bias.dtype)), x.dtype)

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'{self.num_features}, r={self.r}'

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark_norm(destination, prefix, 'SEBN')

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        inner_bn_from_bn_state(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
