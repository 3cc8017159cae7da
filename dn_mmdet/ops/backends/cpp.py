"""The kernels of aten.py in C++, for a CPU: one pass each, threads, no temporary map.

The library is built from csrc/ when the package is installed, and used where it is there. Maps
are float32, bfloat16 or float16, sums and numbers per sample and channel float32.
"""

import logging
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..activation import Gate
from ..autograd import Options
from ..sc import ScGradients

__all__ = [
    'DTYPES',
    'EVALUATES',
    'GATES_FROM_OUTPUT',
    'evaluate',
    'is_available',
    'plane_affine',
    'plane_gradient',
    'plane_means',
    'plane_moments',
    'plane_products',
    'require',
    'sc_backward',
    'sc_forward',
    'why_absent',
    'widen',
]

# As in aten.py.
EVALUATES = True
GATES_FROM_OUTPUT = False
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LIBRARY = Path(__file__).with_name('_cpp.so')
HOW_TO_BUILD = (
    "install a C++ compiler and run 'pip install --no-build-isolation --no-deps .' in the "
    "repository of dn_mmdet, with '-e .' where it is installed in editable mode"
)

_operators = torch.ops.dn_mmdet
_logger = logging.getLogger(__name__)


@cache
def is_available() -> bool:
    """Whether the library is there; if it is not, the logger says why, once per process."""
    reason = why_absent()
    if reason:
        _logger.warning(
            'dn_mmdet: the C++ operators cannot be used (%s), so the slower ATen path serves; '
            'to have them, %s.',
            reason,
            HOW_TO_BUILD,
        )
    return not reason


def require() -> None:
    """Refuse to go on without the library.

    Raises:
        RuntimeError: It is not there, for the reason in the message.
    """
    reason = why_absent()
    if reason:
        raise RuntimeError(
            f"the path 'cpp' was asked for, but its library cannot be used ({reason}): "
            f'{HOW_TO_BUILD}'
        )


@cache
def why_absent() -> str:
    """Load the library; '' where that succeeds."""
    if not LIBRARY.is_file():
        return f'{LIBRARY} has not been built'
    try:
        torch.ops.load_library(LIBRARY)
    except OSError as error:
        return str(error.__cause__ or error)
    built, present = _operators.built_for(), _version(torch.__version__)
    return '' if built == present else f'{LIBRARY} was built for torch {built}, this is {present}'


def _version(text: str) -> str:
    """The numbers alone, which is what the library knows of the torch it was built for."""
    return '.'.join(re.findall(r'\d+', text)[:3])


def widen(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` as it is: the kernels read half precision themselves."""
    return x


def plane_means(x: Tensor) -> Tensor:
    """Mean over H and W, (N, C)."""
    return _operators.plane_means(x)


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means per sample and channel (N, C), mean and biased variance per channel, both (C,)."""
    return _operators.plane_moments(x)


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """``x * scale + shift``, clamped to the bounds, in the layout and dtype of ``x``."""
    return _operators.plane_affine(x, scale, shift, bounds)


def plane_products(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """``sum dy`` and ``sum dy (x - mean)`` over H and W, each (N, C), of what the gate lets pass.

    ``mean`` is (C,).
    """
    if gate is None:
        return _operators.plane_products(dy, x, mean)
    return _operators.plane_products(dy, x, mean, gate.scale, gate.shift, gate.bounds)


def plane_gradient(
    dy: Tensor,
    x: Tensor,
    scale: Tensor,
    slope: Tensor | None,
    offset: Tensor,
    gate: Gate | None = None,
) -> Tensor:
    """``dy * scale + x * slope + offset`` like ``x``; ``slope`` is (C,) or None, the others (N, C).

    The scale of the gate is ``scale``.
    """
    if slope is None:
        return _operators.plane_affine(dy, scale, offset)
    if gate is None:
        return _operators.plane_gradient(dy, x, scale, slope, offset)
    return _operators.plane_gradient(dy, x, scale, slope, offset, gate.shift, gate.bounds)


def sc_forward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`dn_mmdet.ops.sc.sc_forward`."""
    return _operators.sc_forward(*arguments)


def sc_backward(*arguments: Any) -> ScGradients:
    """As :func:`dn_mmdet.ops.sc.sc_backward`, of one process."""
    return ScGradients(*_operators.sc_backward(*arguments))


def evaluate(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    fc1_weight: Tensor,
    fc1_bias: Tensor,
    fc2_weight: Tensor,
    alpha_offset: Tensor,
    lambda_offset: Tensor,
    options: Options,
) -> Tensor:
    """The layer with frozen statistics, sample by sample while it is in the cache."""
    return _operators.evaluate(
        x,
        mean,
        var,
        fc1_weight,
        fc1_bias,
        fc2_weight,
        alpha_offset,
        lambda_offset,
        options.eps,
        options.normalized,
        options.bounds,
    )
