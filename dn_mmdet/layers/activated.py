"""Activations that pass on what says of itself that it is activated already."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.torch_versions import is_compiling

__all__ = ['FOLDED', 'FoldedReLU', 'FoldedReLU6', 'mark_activated', 'unfold']

# Of the compiler alone, since tensors in a graph of torch.export keep their marks; from 2.3 on.
is_dynamo_compiling = getattr(torch.compiler, 'is_dynamo_compiling', is_compiling)

MARK = '_dn_activated'


class FoldedReLU(nn.ReLU):
    """``nn.ReLU``, but a pass is saved where the map comes from a DN-B that has applied it.

    A model may use one module behind a norm and behind a sum. It computes ReLU in both places, as
    what :func:`mark_activated` marked is its own ReLU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """ReLU."""
        return x if _is_marked(x, 'ReLU') else F.relu(x, _works_in_place(self))


class FoldedReLU6(nn.ReLU6):
    """``nn.ReLU6``, as :class:`FoldedReLU` is ``nn.ReLU``."""

    def forward(self, x: Tensor) -> Tensor:
        """ReLU6."""
        return x if _is_marked(x, 'ReLU6') else F.relu6(x, _works_in_place(self))


FOLDED = {nn.ReLU: FoldedReLU, nn.ReLU6: FoldedReLU6}


def mark_activated(y: Tensor, activation: str | None) -> Tensor:
    """Say of a map, on the object itself, what was applied to it; it is returned.

    The first activation that the object reaches takes the mark off. It holds until the map is
    changed in place.

    Args:
        y (Tensor): The output of a layer.
        activation (str, optional): As of :class:`DNB`.
    """
    if not is_dynamo_compiling():  # It knows no such marks, and merges what is computed twice.
        vars(y)[MARK] = activation, _version(y)
    return y


def unfold(model: nn.Module) -> None:
    """Make plain activations of the folded ones, where no layer marks its output."""
    modules = list(model.modules())
    if not any(getattr(module, 'marks_output', False) for module in modules):
        for module in modules:
            for plain, folded in FOLDED.items():
                if type(module) is folded:
                    module.__class__ = plain


def _is_marked(x: Tensor, activation: str) -> bool:
    if is_dynamo_compiling():
        return False
    mark = vars(x).pop(MARK, None)
    return mark is not None and mark == (activation, _version(x))


def _works_in_place(act: nn.ReLU | nn.ReLU6) -> bool:
    # What comes without a mark through a compiler may be a ReLU's output, which its backward needs.
    return act.inplace and not is_dynamo_compiling()


def _version(y: Tensor) -> int | None:
    # In inference mode changes in place are not counted.
    return None if y.is_inference() else y._version
