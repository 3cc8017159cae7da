"""What others put around weights: a place in the checkpoint, and a front part of every name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ['bare_name', 'find_weights']

# Averaged weights first, which are those that were evaluated: of timm, of torchvision's training
# scripts, of OpenMMLab, of DETR and again torchvision, and of PyTorch's tutorials.
PLACES = ('state_dict_ema', 'model_ema', 'state_dict', 'model', 'model_state_dict')
# A dict in a file may be inside of itself.
DEEPEST = 4


def find_weights(checkpoint: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Find the weights in a checkpoint.

    Args:
        checkpoint (Mapping): What a file holds.

    Returns:
        tuple[str, Mapping]: The key and what is there, or '' and the checkpoint itself. Where one
        place is inside of another, the key is both, with a dot between them.
    """
    places, found = [], _place(checkpoint)
    while found and len(places) < DEEPEST:
        places.append(found)
        checkpoint = checkpoint[found]
        found = _place(checkpoint)
    return '.'.join(places), checkpoint


def bare_name(key: str) -> str:
    """A key without what torch.compile, DistributedDataParallel and AveragedModel put into it.

    Args:
        key (str): Of a state dict.

    Returns:
        str: Without ``_orig_mod.`` anywhere and ``module.`` at the front.
    """
    return re.sub(r'^(module\.)+', '', re.sub(r'(^|(?<=\.))_orig_mod\.', '', key))


def _place(checkpoint: Mapping[str, Any]) -> str | None:
    held = (p for p in PLACES if isinstance(checkpoint.get(p), Mapping) and checkpoint[p])
    return next(held, None)
