"""The two memory formats that the kernels know."""

import torch
from torch import Tensor

__all__ = ['to_dense']


def to_dense(x: Tensor, like: Tensor | None = None) -> Tensor:
    """``x`` contiguous or channels_last: as ``like`` is, or as it is already."""
    like = x if like is None else like
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()
