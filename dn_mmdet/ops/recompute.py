"""Outputs that the backward recomputes instead of keeping them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

__all__ = ['is_recomputing', 'offer_recomputation', 'recompute_outputs']


@contextmanager
def recompute_outputs() -> Iterator[None]:
    """Inside this block, no operation keeps an output of :func:`dynamic_batch_norm`.

    A convolution after a norm keeps its input for the backward, and the norm keeps its own: two
    maps per layer. Here the first is recomputed from the second, one pass per operation that needs
    it. An output that was changed in place is kept as usual.

    The block must enclose the operations after the norm, not the backward.
    """
    before = _local.offers
    _local.offers = offers = {}

    def pack(tensor: Tensor) -> Tensor | _Offer:
        offer = offers.get(_storage_key(tensor))
        return offer if offer is not None and offer.stands_for(tensor) else tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
            yield
    finally:
        _local.offers = before


def is_recomputing() -> bool:
    """Whether this thread is inside :func:`recompute_outputs`."""
    return _local.offers is not None


def offer_recomputation(y: Tensor, x: Tensor, make: Callable[[Tensor], Tensor]) -> None:
    """Say how ``y``, fresh and not yet used, is recomputed from ``x``, to the same bits."""
    _local.offers[_storage_key(y)] = _Offer(y, x, make)


class _Local(threading.local):
    offers: dict[int, _Offer] | None = None


_local = _Local()


class _Offer:
    def __init__(self, y: Tensor, x: Tensor, make: Callable[[Tensor], Tensor]):
        # While the reference lives, no other storage can have the same address.
        self.storage = StorageWeakRef(y.untyped_storage())
        self.y, self.version = weakref.ref(y), y._version
        # Detached, it keeps no graph alive, but knows when x is changed.
        self.x, self.version_of_x, self._make = x.detach(), x._version, make

    def stands_for(self, tensor: Tensor) -> bool:
        y = self.y()
        return (
            y is not None
            and y._version == self.version
            and tensor.dtype == y.dtype
            and tensor.shape == y.shape
            and tensor.stride() == y.stride()
            and not self.storage.expired()
        )

    def make(self) -> Tensor:
        if self.x._version != self.version_of_x:
            raise RuntimeError(
                'one of the variables needed for gradient computation has been modified by an '
                f'inplace operation: the input of a norm, of size {tuple(self.x.shape)}, from '
                'which its output is to be recomputed; do not modify it, or do not use '
                'recompute_outputs'
            )
        return self._make(self.x)


def _unpack(packed: Tensor | _Offer) -> Tensor:
    return packed.make() if isinstance(packed, _Offer) else packed


def _storage_key(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None
