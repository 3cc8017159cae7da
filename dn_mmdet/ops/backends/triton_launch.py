"""Whether the kernels in Triton can be used, and their launch."""

import logging
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ...utils.text import error_line
from .kernels import DTYPES, SELFTEST

__all__ = ['DTYPES', 'is_available', 'launch', 'require', 'supports', 'version', 'why_absent']

# Of the device: the least that Triton compiles for, and the least with conversions of bfloat16.
CAPABILITY, CAPABILITY_BFLOAT16 = (7, 0), (8, 0)

_logger = logging.getLogger(__name__)


@cache
def is_available(device: torch.device) -> bool:
    """Whether the kernels run on a GPU; if not, the logger says why, once per device."""
    reason = why_absent() or _why_unfit(device)
    if reason:
        _logger.warning(
            'dn_mmdet: the Triton operators cannot be used on %s (%s), so the slower reference '
            'path is used.',
            device,
            reason,
        )
    return not reason


def supports(x: Tensor) -> bool:
    """Whether the kernels, where Triton is there, can take a map: of its device and dtype.

    Tensors in host memory are for Triton's interpreter, which ``TRITON_INTERPRET=1`` turns on.
    """
    if x.dtype not in DTYPES:
        return False
    if x.device.type != 'cuda':
        return x.device.type == 'cpu' and _is_interpreted()
    if _why_unfit(x.device):
        return False
    return x.dtype != torch.bfloat16 or _capability(x.device) >= CAPABILITY_BFLOAT16


def require() -> None:
    """Refuse to continue without Triton.

    Raises:
        RuntimeError: It is not there, for the reason in the message.
    """
    reason = why_absent()
    if reason:
        raise RuntimeError(
            f"the path 'triton' was requested, but Triton cannot be used ({reason}): install a "
            'CUDA build of PyTorch for Linux, which includes Triton'
        )


@cache
def why_absent() -> str:
    """Import Triton; '' where that succeeds."""
    try:
        _module('tiles')
    except Exception as error:  # The Triton of another PyTorch can fail in any way.
        return str(error) or type(error).__name__
    return ''


def version() -> str:
    """Of Triton; '' where it cannot be imported."""
    try:
        return import_module('triton').__version__
    except Exception:  # See why_absent.
        return ''


def launch(like: Tensor, kernel: str, programs: int, *args: Any, **constants: Any) -> None:
    """Start the programs of a kernel on the device of a tensor.

    Args:
        like (Tensor): On that device.
        kernel (str): Module and name, such as 'maps.affine'.
        programs (int): Their number.
        args: As in the signature of the kernel.
        constants: What the kernel is compiled for, and ``num_warps``.

    Raises:
        RuntimeError: It cannot be compiled or started.
    """
    module, name = kernel.split('.')
    try:
        # Triton would take the current device, whatever that of the arguments.
        with torch.cuda.device(like.device) if like.is_cuda else nullcontext():
            getattr(_module(module), name)[(programs,)](*args, **constants)
    except Exception as error:  # Of Triton, of a compiler that it calls, or of the driver.
        raise RuntimeError(
            f'the Triton kernel {kernel} cannot be compiled or started ({error_line(error, 500)}): '
            'set the environment variable DN_MMDET_OPS=reference, and report this together with '
            f'what `{SELFTEST}` prints'
        ) from error


@cache
def _module(name: str) -> ModuleType:
    return import_module(f'.triton_kernels.{name}', __package__)


@cache
def _is_interpreted() -> bool:
    from triton.runtime import JITFunction

    return not isinstance(_module('tiles').take, JITFunction)


@cache
def _why_unfit(device: torch.device) -> str:
    if torch.version.cuda is None:
        return 'the kernels were written for NVIDIA GPUs'
    found = _capability(device)
    if found < CAPABILITY:
        return f'its compute capability is {found[0]}.{found[1]}, below {CAPABILITY[0]}.0'
    return ''


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
