"""What was found about kernels that are compiled where they run, kept on disk between processes.

A verdict is a small file of JSON. It holds for one GPU, driver, torch, Triton and source of the
operators; where one of them changes the kernels are checked anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from ..utils.files import write_text
from .backends import triton_launch

__all__ = ['code_digest', 'describe', 'driver_version', 'load', 'place_of', 'save']

VARIABLE = 'DN_MMDET_CACHE_DIR'
OPS = Path(__file__).parent
# More than any verdict has.
LONGEST = 10_000


def describe(path: str, device: torch.device, dtype: torch.dtype, layout: str) -> dict[str, str]:
    """All that a verdict depends on.

    Args:
        path (str): Whose kernels they are.
        device (torch.device): Where they run.
        dtype (torch.dtype): Of the maps.
        layout (str): Of the maps.
    """
    name, capability = 'interpreter', ''
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
        capability = '.'.join(map(str, torch.cuda.get_device_capability(device)))
    return {
        'path': path,
        'device': name,
        'capability': capability,
        'driver': driver_version(),
        'cuda': str(torch.version.cuda),
        'torch': torch.__version__,
        'triton': triton_launch.version(),
        'code': code_digest(),
        'dtype': str(dtype),
        'layout': layout,
    }


def load(key: dict[str, str]) -> str | None:
    """What was wrong, '' for nothing; None where nothing is known.

    Whatever else the file holds, and whatever keeps it from being read, is nothing known.
    """
    try:
        with open(place_of(key), encoding='utf-8') as file:
            found = json.loads(file.read(LONGEST))
        fault = found['fault']
        return fault if found['key'] == key and isinstance(fault, str) else None
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, RecursionError):
        return None


def save(key: dict[str, str], fault: str) -> None:
    """Keep a verdict; where the folder cannot be written, it is found anew the next time."""
    text = json.dumps({'key': key, 'fault': fault[: LONGEST // 4]}, indent=1) + '\n'
    with suppress(OSError, RuntimeError):
        write_text(place_of(key), text)


def place_of(key: dict[str, str]) -> Path:
    """The file of a verdict: in ``DN_MMDET_CACHE_DIR``, or where the system has its caches.

    Raises:
        RuntimeError: The user has no home folder, and no variable names another.
    """
    folder = os.environ.get(VARIABLE)
    if not folder:
        folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'dn_mmdet'
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    return Path(folder) / f'kernels-{name}.json'


def driver_version() -> str:
    """Of NVIDIA's driver; '' where that cannot be seen."""
    try:
        words = Path('/proc/driver/nvidia/version').read_text(encoding='utf-8').split()
    except (OSError, ValueError):
        words = []
    numbers = [word for word in words if word[0].isdigit() and '.' in word]
    if numbers:
        return numbers[0]
    # As under Windows' Linux, the highest CUDA that the driver knows says nearly as much.
    highest = getattr(torch._C, '_cuda_getDriverVersion', None)
    return str(highest()) if highest else ''


@cache
def code_digest() -> str:
    """Of the source of all operators."""
    digest = hashlib.sha256()
    for file in sorted(OPS.rglob('*.py')):
        digest.update(file.relative_to(OPS).as_posix().encode() + b'\0' + file.read_bytes())
    return digest.hexdigest()[:16]
