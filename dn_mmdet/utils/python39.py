"""What Python 3.9 does not have yet."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import zip_longest
from typing import Any

__all__ = ['zip_strict']


def _zip_strict(*iterables: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    end = object()
    for items in zip_longest(*iterables, fillvalue=end):
        if any(item is end for item in items):
            raise ValueError('the arguments of zip_strict() have different lengths')
        yield items


# Refuses what is not of one length.
zip_strict = partial(zip, strict=True) if sys.version_info >= (3, 10) else _zip_strict
