"""What `torch.load(weights_only=True)` must know to read a checkpoint that mmengine wrote."""

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint
from numpy.dtypes import Float32DType, Float64DType, Int64DType

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # numpy 1
    from numpy.core.multiarray import _reconstruct, scalar

__all__ = ['SAFE_GLOBALS', 'register_safe_globals']


def register_safe_globals() -> None:
    """Let checkpoints that mmengine wrote load with torch's ``weights_only`` left on.

    Adds :data:`SAFE_GLOBALS` to torch's allow-list, for the whole process. Calling it again
    changes nothing. In OneDL's mmengine, whose loader has a list of its own, the loader is
    replaced: it would allow the real ``getattr``, take its list away from torch's afterwards, and
    load without ``weights_only`` what the list does not cover.
    """
    torch.serialization.add_safe_globals(SAFE_GLOBALS)
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = _load


def _load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    return torch.load(file, map_location=map_location, weights_only=weights_only is not False)


def _statistics_method(owner: type, name: str) -> Callable:
    """Stand in for the `getattr` that a pickled HistoryBuffer calls.

    A HistoryBuffer is saved with its table of methods, each as ``getattr(HistoryBuffer, 'mean')``.
    The real getattr would give a file a way to every function of every class it can name.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(
        f'Unsupported global: GLOBAL builtins.getattr of {owner!r}, {name!r} was not an allowed '
        'global by default.'
    )


# The message hub in a checkpoint holds the history of losses (HistoryBuffer: arrays of float64
# and int64) and best scores, which may be numpy scalars. All of these make data and call nothing
# that the file names. numpy 1 and 2 give _reconstruct and scalar different homes, and so do the
# checkpoints that they wrote.
SAFE_GLOBALS = [
    HistoryBuffer,
    (_statistics_method, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    Float32DType,
    Float64DType,
    Int64DType,
    (_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (scalar, 'numpy._core.multiarray.scalar'),
    (scalar, 'numpy.core.multiarray.scalar'),
]
