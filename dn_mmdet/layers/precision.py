"""The rule of precision: statistics and SC-Module in at least float32, output as the input."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ['cast', 'compute_dtype', 'without_autocast']


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, the dtype itself otherwise."""
    return torch.promote_types(dtype, torch.float32)


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    # A conversion to the same dtype is free when run, but would stay in a traced graph.
    # torch.fx traces with proxies, whose dtype is not known.
    if isinstance(tensor, Tensor) and tensor.dtype == dtype:
        return tensor
    return tensor.to(dtype)


def without_autocast(x: Tensor) -> Any:
    """Context in which autocast does not lower the precision of the layer's own arithmetic."""
    if isinstance(x, Tensor) and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
