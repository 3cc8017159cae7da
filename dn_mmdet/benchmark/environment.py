"""What decides a time besides the code: device, threads, versions, settings of the process."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..utils.errors import UserError
from ..version import __version__

__all__ = ['describe_environment', 'process_settings', 'usable_device']

# Variables by which a user changes which kernels run, or how.
PREFIXES = ('OMP_', 'GOMP_', 'KMP_', 'MKL_', 'ONEDNN_', 'DNNL_', 'ATEN_', 'TORCH_ALLOW_',
            'PYTORCH_', 'CUDA_LAUNCH_', 'CUBLAS_', 'CUDNN_', 'NVIDIA_TF32',
            'TRITON_INTERPRET', 'DN_MMDET_', 'MALLOC_')  # fmt: skip
PACKAGE = Path(__file__).parents[1]


def describe_environment(device: torch.device | str = 'cpu') -> dict[str, object]:
    """Everything that must be the same for two results to be comparable.

    Args:
        device (torch.device | str): Where the work is done. Defaults to 'cpu'.

    Returns:
        dict[str, object]: Texts, numbers and flags, ready for JSON.
    """
    device = torch.device(device)
    found = dict(
        device='cpu',
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        threads=torch.get_num_threads(),
        capability=torch.backends.cpu.get_cpu_capability(),
        flush_denormal=_flushes_denormals(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        dn_mmdet=__version__,
        code=_code_digest(),
        variables={name: os.environ[name] for name in sorted(os.environ)
                   if name.startswith(PREFIXES)},
    )  # fmt: skip
    if device.type == 'cuda':
        found.update(
            device=torch.cuda.get_device_name(device),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            cudnn_benchmark=torch.backends.cudnn.benchmark,
            tf32=dict(
                matmul=torch.backends.cuda.matmul.allow_tf32, cudnn=torch.backends.cudnn.allow_tf32
            ),
        )
    return found


@contextmanager
def process_settings(threads: int | None = None) -> Iterator[None]:
    """Flush denormals and set the number of threads inside a ``with`` block.

    A network that runs long on noise fills with denormals, which are slow on a CPU whatever the
    norm.

    Args:
        threads (int, optional): Defaults to as many as torch has now.
    """
    before, flushed = torch.get_num_threads(), _flushes_denormals()
    torch.set_flush_denormal(True)
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(flushed)


def usable_device(name: str) -> torch.device:
    """The device of that name, once it has held a tensor.

    Args:
        name (str): 'cpu', 'cuda' or 'cuda:N'.

    Raises:
        UserError: There is no such device, or it cannot be used.
    """
    try:
        device = torch.device(name)
        if device.type not in ('cpu', 'cuda'):
            raise UserError(f'--device must be cpu or cuda, got {name!r}.')
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device {name} cannot be used ({str(error).splitlines()[0]}): choose cpu, or '
            'install a torch build for that device.'
        ) from error
    return device


def _flushes_denormals() -> bool:
    return float(torch.full((1,), 1e-38) * 0.01) == 0


def _cpu_model() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _code_digest() -> str:
    """Tells builds apart that have the same version."""
    digest = hashlib.sha256()
    for folder in ('ops', 'layers', 'backbones'):
        for file in sorted((PACKAGE / folder).rglob('*')):
            if file.suffix in ('.py', '.so', '.h', '.cpp', '.cu'):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]
