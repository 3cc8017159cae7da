"""What differs between the versions of torch, from 2.1 on, each under one name."""

from __future__ import annotations

import torch

__all__ = ['autocast_enabled', 'is_compiling']

if hasattr(torch.compiler, 'is_compiling'):
    is_compiling = torch.compiler.is_compiling
else:  # before 2.3
    from torch._dynamo.external_utils import is_compiling


def _autocast_enabled(device_type: str) -> bool:
    if device_type == 'cpu':
        return torch.is_autocast_cpu_enabled()
    return device_type == 'cuda' and torch.is_autocast_enabled()


if hasattr(torch, 'get_autocast_dtype'):
    autocast_enabled = torch.is_autocast_enabled
else:  # before 2.4, where it takes no argument
    autocast_enabled = _autocast_enabled
