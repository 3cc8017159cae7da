"""Which implementation of an operator runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .backends import KERNELS, cpp, inductor, triton_launch
from .backends.kernels import DTYPES
from .torch_versions import is_compiling, is_compiling_to_run
from .trust import is_trusted

__all__ = ['PATHS', 'choose_path', 'compiles_to_cpp', 'eager_path', 'runs_eagerly', 'use_path']

PATHS = ('auto', 'reference', *KERNELS)
VARIABLE = 'DN_MMDET_OPS'

# For maps of `DTYPES` on a device: the fastest path, and what serves where that is not there or
# does not compute what it should. 'aten' was composed for a CPU: its sums loop over the samples.
FASTEST = {'cpu': ('cpp', 'aten'), 'cuda': ('triton', 'reference')}


def choose_path(x: Tensor, shared: bool = False) -> str:
    """Name of the path, one of ``PATHS`` but 'auto', that an operator takes for this input.

    The environment variable ``DN_MMDET_OPS`` or :func:`use_path` may select one. 'auto', the
    default, takes 'cpp' on a CPU, or 'aten' if its library was not built, and 'triton' on an
    NVIDIA GPU, or 'reference' if Triton cannot be used. Before these get their first map of a
    device, dtype and layout, they are tried on small maps, and where they are wrong do not get it
    (:func:`.trust.is_trusted`); what is requested by its name is taken without that. 'auto' leaves
    float64, the precision of checks, to 'reference'. Whatever is requested, traced and compiled
    graphs, function transforms, forward-mode derivatives and empty inputs take 'reference', the
    only path that supports them, as do devices and dtypes that 'cpp' or 'triton' does not support.

    Args:
        x (Tensor): The input of the operator.
        shared (bool): Processes share their statistics; an empty input then takes the path of
            the others, whose exchanges come in another order on each path. Defaults to False.

    Raises:
        ValueError: ``DN_MMDET_OPS`` is not the name of a path, or ``DN_MMDET_CHECK_KERNELS`` none
            of its values.
        RuntimeError: ``DN_MMDET_OPS`` names 'cpp' or 'triton', which cannot be used, or a kernel
            that was tried has broken the GPU's context.
    """
    if runs_eagerly(x):
        return eager_path(x, shared)
    return 'cpp' if not shared and compiles_to_cpp(x) else 'reference'


def eager_path(x: Tensor, shared: bool = False) -> str:
    """:func:`choose_path` for an input of which :func:`runs_eagerly` is known."""
    if x.numel() == 0 and not shared:
        return 'reference'
    requested = _forced or _named_outside()
    if requested == 'auto':
        return _best(x, shared)
    return requested if _supports(requested, x) else 'reference'


def compiles_to_cpp(x: Tensor) -> bool:
    """Whether a graph that torch.compile records gets the layer as one node, the C++ operator."""
    if not is_compiling_to_run() or x.numel() == 0:
        return False
    return _serves_graphs(_forced, x.device.type, x.dtype)


@contextmanager
def use_path(name: str) -> Iterator[None]:
    """Select the path of all operators inside a ``with`` block; it overrides ``DN_MMDET_OPS``.

    The choice holds for the whole process, other threads included.

    Args:
        name (str): One of ``PATHS``.

    Raises:
        ValueError: There is no such path.
        RuntimeError: It is 'cpp' or 'triton', which cannot be used.
    """
    global _forced
    before, _forced = _forced, _check(name, 'name')
    try:
        yield
    finally:
        _forced = before


def runs_eagerly(x: Tensor) -> bool:
    """Whether ``x`` is an ordinary tensor and nothing records or transforms the computation."""
    return (
        not is_compiling()
        and not torch.jit.is_tracing()
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


_forced: str | None = None

# The mapping under os.environ, of encoded names: a microsecond less where a name is not there.
_environment = getattr(os.environ, '_data', os.environ)
_encoded = os.environ.encodekey(VARIABLE) if hasattr(os.environ, '_data') else VARIABLE


def _named_outside() -> str:
    if _encoded not in _environment:
        return 'auto'
    return _check(os.environ[VARIABLE], VARIABLE)


@torch.compiler.assume_constant_result
def _serves_graphs(forced: str | None, device: str, dtype: torch.dtype) -> bool:
    requested = forced or _named_outside()
    if device != 'cpu' or dtype not in DTYPES or requested not in ('auto', 'cpp'):
        return False
    if requested == 'auto':
        map_ = torch.empty(1, 2, 2, 2, dtype=dtype)
        layouts = map_, map_.contiguous(memory_format=torch.channels_last)
        if not cpp.is_available() or not all(is_trusted('cpp', each) for each in layouts):
            return False
    if 'torch._inductor' in sys.modules:
        inductor.write_into_convolutions()
    return True


def _best(x: Tensor, shared: bool) -> str:
    found = FASTEST.get(x.device.type)
    if found is None or x.dtype not in DTYPES:
        return 'reference'
    path, instead = found
    if not _is_available(path, x):
        return instead
    if x.numel() == 0 or is_trusted(path, x):
        return path
    # Other processes may trust theirs, and the exchanges of 'aten' come in the same order.
    return 'aten' if shared else instead


def _is_available(path: str, x: Tensor) -> bool:
    if path == 'cpp':
        return cpp.is_available()
    return triton_launch.is_available(x.device) and triton_launch.supports(x)


def _supports(path: str, x: Tensor) -> bool:
    if path == 'cpp':
        return x.device.type == 'cpu' and x.dtype in DTYPES
    return path != 'triton' or triton_launch.supports(x)


def _check(name: str, source: str) -> str:
    if name not in PATHS:
        raise ValueError(f'{source} must be one of {", ".join(PATHS)}, got {name!r}')
    if name == 'cpp':
        cpp.require()
    if name == 'triton':
        triton_launch.require()
    return name
