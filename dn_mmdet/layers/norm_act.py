"""A norm layer together with the dropout and the activation behind it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .dynamic_norm import DynamicNorm
from .state import adapt_form

__all__ = ['NormAct']


class NormAct(nn.Module):
    """A norm layer, then a dropout, then an activation, in one place of a model.

    It stands for timm's ``BatchNormAct2d`` and, where DN-B applied an activation, for BatchNorm.
    A state dict has the keys of the norm alone, without ``norm.``, so that the states of both
    sides load.

    Args:
        norm (nn.Module): Any.
        drop (nn.Module, optional): Defaults to None.
        act (nn.Module, optional): Defaults to None.
    """

    def __init__(
        self, norm: nn.Module, drop: nn.Module | None = None, act: nn.Module | None = None
    ):
        super().__init__()
        self.norm = norm
        self.drop = nn.Identity().train(norm.training) if drop is None else drop
        self.act = nn.Identity().train(norm.training) if act is None else act
        self.training = norm.training
        self._register_state_dict_hook(_flatten)

    def forward(self, x: Tensor) -> Tensor:
        """Norm, dropout and activation."""
        return self.act(self.drop(self.norm(x)))

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
        inner, others = f'{prefix}norm.', (f'{prefix}drop.', f'{prefix}act.')
        for key in [key for key in state_dict if key.startswith(prefix)]:
            if not key.startswith((inner, *others)):
                state_dict[f'{inner}{key[len(prefix) :]}'] = state_dict.pop(key)
        if isinstance(self.norm, DynamicNorm):
            # The norm does not get these metadata, which are this place's.
            refused = adapt_form(self.norm, state_dict, inner, local_metadata)
            error_msgs += [f'{prefix[:-1] or type(self).__name__}: {refused}'] if refused else []
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _flatten(module: nn.Module, state: dict[str, Any], prefix: str, _: dict[str, Any]) -> None:
    inner = f'{prefix}norm.'
    for key in [key for key in state if key.startswith(inner)]:
        state[f'{prefix}{key[len(inner) :]}'] = state.pop(key)
    metadata = getattr(state, '_metadata', {})
    metadata.setdefault(prefix[:-1], {}).update(metadata.pop(inner[:-1], {}))
