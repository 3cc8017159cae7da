"""Whether the fast kernels compute on this machine what the reference does.

They are asked once in a process for each device, dtype and layout, on small maps, before the first
map is theirs. What takes seconds to compile is asked once for a machine, see :mod:`.verdicts`.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from ..utils.text import error_line
from . import verdicts
from .backends.kernels import SELFTEST
from .small_maps import cases_for, deviations, run_kernels

__all__ = ['VARIABLE', 'is_trusted']

VARIABLE = 'DN_MMDET_CHECK_KERNELS'
# 'on': once, and a verdict on disk counts; 'again': that on disk does not; 'off': all are trusted.
CHOICES = ('on', 'again', 'off')

# Compiled on the machine where they run, which takes longer than a process should spend again.
KEPT = frozenset({'triton'})

_logger = logging.getLogger(__name__)
_trusted: dict[tuple, bool] = {}
_warned: set[str] = set()


def is_trusted(path: str, x: Tensor) -> bool:
    """Whether the kernels of a path may have a map; if not, the logger says why, once.

    The check runs in a thread of its own, which knows nothing of the caller's autocast, gradients,
    hooks, modes or stream, and draws none of its random numbers. While a CUDA graph is recorded
    nothing can be checked: what is not known to be right is not used, until the next call.

    Args:
        path (str): 'cpp' or 'triton', which is there and can take maps such as ``x``.
        x (Tensor): The map.

    Raises:
        RuntimeError: A kernel has broken the GPU's context: nothing runs in this process any more.
        ValueError: ``DN_MMDET_CHECK_KERNELS`` is none of its values.
    """
    planar = x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last)
    key = path, x.device, x.dtype, planar
    trusted = _trusted.get(key)
    return _judge(key) if trusted is None else trusted


def _judge(key: tuple[str, torch.device, torch.dtype, bool]) -> bool:
    path, device, dtype, planar = key
    choice = os.environ.get(VARIABLE) or CHOICES[0]
    if choice not in CHOICES:
        raise ValueError(f'{VARIABLE} must be one of {", ".join(CHOICES)}, got {choice!r}')
    if choice == 'off':
        _trusted[key] = True
        return True
    subject = path, device, dtype, 'contiguous' if planar else 'channels_last'
    kept = verdicts.describe(*subject) if path in KEPT else None
    fault = verdicts.load(kept) if kept and choice == 'on' else None
    earlier = fault is not None
    if not earlier:
        if device.type == 'cuda' and torch.cuda.is_current_stream_capturing():
            return False
        with ThreadPoolExecutor(1) as thread:
            fault = thread.submit(_find_fault, *subject).result()
        if kept:
            verdicts.save(kept, fault)
    _trusted[key] = not fault
    if fault:
        _warn(subject, fault, kept if earlier else None)
        _check_context(device)
    return not fault


def _find_fault(path: str, device: torch.device, dtype: torch.dtype, layout: str) -> str:
    """What is wrong with the kernels; '' for nothing."""
    if device.type == 'cuda':
        # A new thread is on the first GPU, whose memory may belong to another process.
        torch.cuda.set_device(device)
    try:
        cases = cases_for(path, device)
        found = deviations(partial(run_kernels, path), device, dtype, layout, cases)
        wrong = [deviation for deviation in found if deviation.is_wrong]
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # Of a compiler, a driver or a library: of any class.
        # triton_launch.launch says what to do where nothing else serves.
        return error_line(error.__cause__ or error, 500)
    return f'wrong numbers: {wrong[0]}' if wrong else ''


def _warn(
    subject: tuple[str, torch.device, torch.dtype, str],
    fault: str,
    kept: dict[str, str] | None,
) -> None:
    path, device, dtype, layout = subject
    # Several GPUs of one kind have one fault.
    if (text := f'{path} {dtype} {layout} {fault}') in _warned:
        return
    _warned.add(text)
    where = (
        f' This was found earlier and kept in {verdicts.place_of(kept)}; {VARIABLE}=again checks '
        'anew, as after installing a compiler.'
        if kept
        else ''
    )
    _logger.warning(
        'dn_mmdet: the operators of the path %r do not work on %s for maps of %s, %s (%s). Slower '
        'operators of PyTorch serve instead; results are right. Please report this together with '
        'what `%s` prints.%s',
        path,
        torch.cuda.get_device_name(device) if device.type == 'cuda' else device,
        dtype,
        layout,
        fault,
        SELFTEST,
        where,
    )


def _check_context(device: torch.device) -> None:
    """Say what to do where a kernel has left a GPU that answers nothing any more."""
    if device.type != 'cuda':
        return
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        raise RuntimeError(
            f"an operator of dn_mmdet has broken this process's connection to {device} "
            f'({error_line(error)}): start the program again, with the environment variable '
            'DN_MMDET_OPS=reference if this comes back, and report it together with what '
            f'`{SELFTEST}` prints'
        ) from error
