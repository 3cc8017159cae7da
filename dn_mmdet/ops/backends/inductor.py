"""What inductor, torch.compile's compiler, is told of the operators in C++."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.fx import Node

__all__ = ['evaluate_in_place', 'write_into_convolutions']


@cache
def write_into_convolutions() -> None:
    """Let a layer in evaluation write into the map of a convolution that nothing else reads.

    So inductor does with BatchNorm; a map of its own costs DN-B a third of a compiled MobileNetV2.
    Called while a graph is recorded. What is registered is no public interface of torch: where a
    version has another one, the layer writes into a map of its own, as before.
    """
    try:
        from torch._inductor.fx_passes.reinplace import InplaceableOp, inplaceable_ops
        from torch._inductor.ir import (
            ConstantBuffer,
            FallbackKernel,
            InputBuffer,
            StorageBox,
            TensorBox,
        )
        from torch._inductor.lowering import fallback_handler, register_lowering
    except ImportError:
        return
    operators = torch.ops.dn_mmdet
    evaluate = fallback_handler(operators.evaluate.default, add_to_fallback_set=False)

    @register_lowering(evaluate_in_place, type_promotion_kind=None)
    def lower(x: TensorBox, *arguments: object) -> TensorBox:
        x.realize()
        # Anything else may be part of another map, or be copied when the operator is called.
        if not isinstance(x.data, StorageBox) or isinstance(
            x.data.data, (InputBuffer, ConstantBuffer)
        ):
            return evaluate(x, *arguments)
        FallbackKernel.create(operators.evaluate_.default, x, *arguments)
        return x

    inplaceable_ops[operators.evaluate.default] = InplaceableOp(
        evaluate_in_place, 0, extra_check=_follows_a_convolution
    )


def evaluate_in_place(x: Tensor, *arguments: object) -> Tensor:
    """The operator ``evaluate``, written into ``x``; stands in graphs alone."""
    torch.ops.dn_mmdet.evaluate_(x, *arguments)
    return x


def _follows_a_convolution(node: Node) -> bool:
    source = node.args[0]
    return (
        isinstance(source, Node)
        and source.target is torch.ops.aten.convolution.default
        and source.meta['val'].stride() == node.meta['val'].stride()
    )
