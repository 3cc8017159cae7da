"""What all norms have in common whose scale and shift an SC-Module makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..ops.activation import activate
from ..ops.precision import cast, compute_dtype, without_autocast
from ..ops.reference import modulate
from .sc_module import GAIN, PARAMETERIZATION, SCModule
from .state import UNTOLD, adapt_form, dynamic_norm_from_plain_state, form_of, mark_norm
from .validation import check_flag, check_positive_int

__all__ = ['Affine', 'DynamicNorm']


class Affine(NamedTuple):
    """What a dynamic norm multiplies and adds, and the SC-Module's units behind it.

    Attributes:
        alpha (Tensor): Scale, shape (N, C), or (1, C) where the batch shares it.
        shift (Tensor): lambda of the paper, same shape.
        hidden (Tensor): Units of the SC-Module behind their sigmoid, shape (N, H) or (1, H).
    """

    alpha: Tensor
    shift: Tensor
    hidden: Tensor


class DynamicNorm(nn.Module):
    """Base of the layers that normalize, and make scale and shift by ``sc``.

    ``alpha_offset`` (ones at start) and ``lambda_offset`` (zeros at start) are buffers of shape
    (C,): they are saved, but not trained. A state dict of the plain norm loads: its gamma and
    beta become the offsets, and the layer then computes what that norm did.
    """

    # From 2 on a state dict says how its SC-Module's weights enter; see layers/state.py.
    _version = 2
    # What a state dict says of the layer; a kind that is not known is not told.
    _kind = UNTOLD

    def __init__(
        self,
        num_features: int,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        requires_grad: bool = True,
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        bn: nn.Module | None = None,
    ):
        super().__init__()
        self.num_features = check_positive_int('num_features', num_features)
        if bn is not None:
            self.bn = bn  # Before the SC-Module, in the order of the keys of a state.
        self.sc = SCModule(
            num_features,
            r=r,
            g=g,
            start=start,
            parameterization=parameterization,
            gain=gain,
            device=device,
            dtype=dtype,
        )
        offset = torch.empty(num_features, device=device, dtype=dtype)
        self.register_buffer('alpha_offset', offset)
        self.register_buffer('lambda_offset', offset.clone())
        self._reset_offsets()
        for parameter in self.parameters():
            parameter.requires_grad = check_flag('requires_grad', requires_grad)

    def reset_parameters(self) -> None:
        """Back to the start: weights of the SC-Module and offsets."""
        self.sc.reset_parameters()
        self._reset_offsets()

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'{self.num_features}'

    def _reset_offsets(self) -> None:
        nn.init.constant_(self.alpha_offset, 0.0 if self.sc.start == 'paper' else 1.0)
        nn.init.zeros_(self.lambda_offset)

    @property
    def _compute_dtype(self) -> torch.dtype:
        return compute_dtype(self.alpha_offset.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        """The map without scale and shift; in ``_compute_dtype``, as x is."""
        raise NotImplementedError

    def _compose(
        self,
        x: Tensor,
        sc: Callable[[Tensor], tuple[Tensor, Tensor]],
        sc_input: str,
        detach_gap: bool,
        activation: str | None,
    ) -> Tensor:
        """The layer out of torch's operations; arguments as of :func:`.ops.reference.modulate`."""
        with without_autocast(x):
            work = cast(x, self._compute_dtype)
            y = modulate(
                work,
                self._normalize(work),
                sc,
                cast(self.alpha_offset, self._compute_dtype),
                cast(self.lambda_offset, self._compute_dtype),
                sc_input,
                detach_gap,
            )
            return cast(activate(y, activation), x.dtype)

    def _affine_of(self, context: Tensor) -> Affine:
        """Scale and shift that the SC-Module makes of what it sees, (N, C)."""
        hidden = self.sc.fc1(context).sigmoid()
        return self._with_offsets(*self.sc.fc2(hidden), hidden)

    def _with_offsets(self, alpha: Tensor, shift: Tensor, hidden: Tensor) -> Affine:
        dtype = self._compute_dtype
        alpha = alpha + cast(self.alpha_offset, dtype)
        return Affine(alpha, shift + cast(self.lambda_offset, dtype), hidden)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        mark_norm(destination, prefix, self._kind, form_of(self))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if not dynamic_norm_from_plain_state(self, state_dict, prefix):
            refused = adapt_form(self, state_dict, prefix, local_metadata)
            error_msgs += [f'{prefix[:-1] or type(self).__name__}: {refused}'] if refused else []
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
