"""``fold_activation='recompute'`` of the backbones."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from ..ops import recompute_outputs
from ..ops.torch_versions import is_compiling

__all__ = ['recompute_as_asked']


def recompute_as_asked(backbone: nn.Module) -> AbstractContextManager[None]:
    """What a forward pass of the backbone runs in.

    Args:
        backbone (nn.Module): With ``fold_activation`` and ``with_cp`` as given to it.
    """
    # With checkpoints nothing of a block is kept anyway.
    recompute = (
        backbone.fold_activation == 'recompute'
        and not backbone.with_cp
        and torch.is_grad_enabled()
        and not is_compiling()
    )
    return recompute_outputs() if recompute else nullcontext()
