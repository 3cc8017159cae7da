"""Training or evaluation for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ['in_mode']


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """All modules of a model are in one mode inside the block, and afterwards in that of before.

    Args:
        model (nn.Module): Any.
        training (bool): The mode.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = training
        yield
    finally:
        for module, before in modes.items():
            module.training = before
