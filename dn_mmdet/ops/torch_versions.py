"""What differs between the versions of torch, from 2.1 on, each under one name."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ['all_gather_single', 'autocast_enabled', 'is_compiling', 'is_compiling_to_run']

if hasattr(torch.compiler, 'is_compiling'):
    is_compiling = torch.compiler.is_compiling
else:  # before 2.3
    from torch._dynamo.external_utils import is_compiling

# Before 2.7 nobody tells what is exported from what is run here.
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: True)


def is_compiling_to_run() -> bool:
    """Whether torch.compile records a graph, which runs in this process, and is not exported."""
    return is_compiling() and not _is_exporting()


def _autocast_enabled(device_type: str) -> bool:
    if device_type == 'cpu':
        return torch.is_autocast_cpu_enabled()
    return device_type == 'cuda' and torch.is_autocast_enabled()


if hasattr(torch, 'get_autocast_dtype'):
    autocast_enabled = torch.is_autocast_enabled
else:  # before 2.4, where it takes no argument
    autocast_enabled = _autocast_enabled


def all_gather_single(every: Tensor, own: Tensor, group: dist.ProcessGroup) -> None:
    """Fill ``every``, of one dimension, with the ``own`` of all processes of a group."""
    if hasattr(dist, 'all_gather_single'):
        dist.all_gather_single(every, own, group=group)
    elif dist.get_backend(group) == 'gloo':  # Before 2.4 it cannot do the other.
        dist.all_gather(list(every.chunk(dist.get_world_size(group))), own, group=group)
    else:
        dist.all_gather_into_tensor(every, own, group=group)
