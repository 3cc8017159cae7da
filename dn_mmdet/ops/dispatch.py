"""Which implementation of an operator runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import cpp

__all__ = ['PATHS', 'choose_path', 'runs_eagerly', 'use_path']

PATHS = ('auto', 'reference', 'aten', 'cpp')
VARIABLE = 'DN_MMDET_OPS'


def choose_path(x: Tensor) -> str:
    """Name of the path, 'reference', 'aten' or 'cpp', that an operator takes for this input.

    The environment variable ``DN_MMDET_OPS`` or :func:`use_path` may name one. 'auto', the
    default, takes 'cpp' on a CPU, or 'aten' where its library was not built, but leaves float64,
    the precision of checks, to 'reference'. Whatever is asked for, traced and compiled graphs,
    function transforms, forward-mode derivatives and empty inputs take 'reference', which alone
    knows them, and so does what 'cpp' does not know: other devices and other dtypes.

    Args:
        x (Tensor): The input of the operator.

    Raises:
        ValueError: ``DN_MMDET_OPS`` names no path.
        RuntimeError: ``DN_MMDET_OPS`` names 'cpp', whose library is not there.
    """
    if not runs_eagerly(x) or x.numel() == 0:
        return 'reference'
    requested = _forced or _check(os.environ.get(VARIABLE, 'auto'), VARIABLE)
    if requested in ('auto', 'cpp') and (x.device.type != 'cpu' or x.dtype not in cpp.DTYPES):
        return 'reference'
    if requested == 'auto':
        return 'cpp' if cpp.is_available() else 'aten'
    return requested


@contextmanager
def use_path(name: str) -> Iterator[None]:
    """Name the path of all operators inside a ``with`` block; it overrides ``DN_MMDET_OPS``.

    The choice holds for the whole process, other threads included.

    Args:
        name (str): 'auto', 'reference', 'aten' or 'cpp'.

    Raises:
        ValueError: There is no such path.
        RuntimeError: It is 'cpp', whose library is not there.
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
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
    )


_forced: str | None = None


def _check(name: str, source: str) -> str:
    if name not in PATHS:
        raise ValueError(f'{source} must be one of {", ".join(PATHS)}, got {name!r}')
    if name == 'cpp':
        cpp.require()
    return name
