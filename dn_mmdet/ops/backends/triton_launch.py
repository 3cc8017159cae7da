"""Whether the kernels in Triton can be used, and their launch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...utils.text import error_line
from .kernels import DTYPES, SELFTEST

__all__ = [
    'DTYPES',
    'Launch',
    'counters',
    'is_available',
    'kernel_of',
    'launch',
    'note_launches',
    'require',
    'supports',
    'version',
    'why_absent',
]

# Of the device: the least that Triton compiles for, and the least with conversions of bfloat16.
CAPABILITY, CAPABILITY_BFLOAT16 = (7, 0), (8, 0)
# As many as nearly every batch has samples; and for all graphs together 1 MiB, of which a training
# step of MobileNetV2 with 64 images takes less than 17 KiB.
COUNTERS, SUPPLY = 1024, 2**18

_logger = logging.getLogger(__name__)
_counters: dict[tuple[torch.device, int], Tensor] = {}
_supplies: dict[torch.device, Tensor] = {}


class Launch(NamedTuple):
    """What :func:`launch` is called with, but for the device."""

    kernel: str
    programs: int
    args: tuple[Any, ...]
    constants: dict[str, Any]


_noted: list[Launch] | None = None


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
    if _noted is not None:
        _noted.append(Launch(kernel, programs, args, constants))
        return
    try:
        # Triton would take the current device, whatever that of the arguments.
        with _device_of(like):
            kernel_of(kernel)[(programs,)](*args, **constants)
    except Exception as error:  # Of Triton, of a compiler that it calls, or of the driver.
        raise RuntimeError(
            f'the Triton kernel {kernel} cannot be compiled or started ({error_line(error, 500)}): '
            'set the environment variable DN_MMDET_OPS=reference, and report this together with '
            f'what `{SELFTEST}` prints'
        ) from error


@contextmanager
def note_launches() -> Iterator[list[Launch]]:
    """Inside this block, in all threads, kernels are noted instead of started.

    Yields:
        list[Launch]: To which they are appended.
    """
    global _noted
    before, _noted = _noted, []
    try:
        yield _noted
    finally:
        _noted = before


def kernel_of(name: str) -> Any:
    """The function of a kernel, as Triton has decorated it.

    Args:
        name (str): As :func:`launch` takes it.
    """
    module, name = name.split('.')
    return getattr(_module(module), name)


def counters(like: Tensor, number: int) -> Tensor:
    """Zeros for a kernel of the current stream that leaves them as zeros; nobody else may write.

    Kernels of one stream follow each other, so they share what they count with. What a CUDA graph
    records may be replayed beside any stream, so each recorded kernel has its own for good, out of
    a supply that was zeroed before; where that is used up, the graph zeroes them.

    Args:
        like (Tensor): On the device.
        number (int): How many.

    Returns:
        Tensor: int32, ``number`` or longer.
    """
    with _device_of(like):
        recording = like.is_cuda and torch.cuda.is_current_stream_capturing()
        stream = torch.cuda.current_stream().cuda_stream if like.is_cuda else 0
        if recording:
            supply = _supplies.get(like.device)
            if supply is not None and len(supply) >= number:
                # On 16 bytes, as all tensors begin: for others Triton would compile anew.
                found, _supplies[like.device] = supply[:number], supply[-(-number // 4) * 4 :]
                return found
            return torch.zeros(number, dtype=torch.int32, device=like.device)
        if like.is_cuda and like.device not in _supplies:
            _supplies[like.device] = torch.zeros(SUPPLY, dtype=torch.int32, device=like.device)
        found = _counters.get((like.device, stream))
        if found is None or len(found) < number:
            size = max(number, COUNTERS)
            found = torch.zeros(size, dtype=torch.int32, device=like.device)
            _counters[like.device, stream] = found
        return found


def _device_of(like: Tensor) -> AbstractContextManager:
    return torch.cuda.device(like.device) if like.is_cuda else nullcontext()


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
