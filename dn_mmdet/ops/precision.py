"""The rule of precision: statistics and SC-Module in at least float32, output as the input."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from .torch_versions import autocast_enabled

__all__ = ['cast', 'compute_dtype', 'to_dense', 'without_autocast']


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, the dtype itself otherwise."""
    # torch.promote_types cannot be traced by torch.compile before 2.2, nor given a symbol of fx.
    return torch.float32 if dtype is torch.float16 or dtype is torch.bfloat16 else dtype


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert, unless there is nothing to do.

    A conversion to the same dtype is free when run, but would stay in a traced graph. The proxies
    of torch.fx do not know their dtype; they stay as they are, because tools that look for a
    convolution followed by a BatchNorm must find nothing between the two.
    """
    if isinstance(tensor, Proxy) or tensor.dtype == dtype:
        return tensor
    return tensor.to(dtype)


def without_autocast(x: Tensor) -> Any:
    """Context in which autocast does not lower the precision of the layer's own arithmetic."""
    if isinstance(x, Tensor):
        device = x.device.type
        # There is no autocast of what has no numbers, and asking for it is an error.
        if device != 'meta' and autocast_enabled(device):
            return torch.autocast(device, enabled=False)
    return nullcontext()


def to_dense(x: Tensor, like: Tensor | None = None) -> Tensor:
    """``x`` contiguous or channels_last: as ``like`` is, or as it is already."""
    like = x if like is None else like
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()
