"""Outputs that the backward makes anew instead of keeping them."""

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

    A convolution behind a norm keeps its input for the backward, and the norm keeps its own: two
    maps a layer. Here the first is made anew from the second, one pass for each operation that
    wants it. An output that was changed in place is kept as ever.

    The block must enclose the operations behind the norm, not the backward.
    """
    before = getattr(_local, 'offers', None)
    _local.offers = offers = {}

    def pack(tensor: Tensor) -> 'Tensor | _Offer':
        offer = offers.get(_storage_key(tensor))
        return offer if offer is not None and offer.stands_for(tensor) else tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
            yield
    finally:
        _local.offers = before


def is_recomputing() -> bool:
    """Whether this thread is inside :func:`recompute_outputs`."""
    return getattr(_local, 'offers', None) is not None


def offer_recomputation(y: Tensor, make: Callable[[], Tensor]) -> None:
    """Say how ``y``, fresh and not yet used, is made anew; the call must give the same bits."""
    _local.offers[_storage_key(y)] = _Offer(y, make)


_local = threading.local()


class _Offer:
    def __init__(self, y: Tensor, make: Callable[[], Tensor]):
        # While the reference lives, no other storage can have the same address.
        self.storage = StorageWeakRef(y.untyped_storage())
        self.y, self.version, self.make = weakref.ref(y), y._version, make

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


def _unpack(packed: 'Tensor | _Offer') -> Tensor:
    return packed.make() if isinstance(packed, _Offer) else packed


def _storage_key(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else None
