"""Automatic mixed precision on CPU, which mmengine's AmpOptimWrapper refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

__all__ = ['CPUAmpOptimWrapper']


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """An OptimWrapper whose forward pass runs under bfloat16 autocast on CPU.

    bfloat16 has the exponent range of float32, so there is no loss scale. Weights, gradients and
    optimizer state stay float32. The arguments are those of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass: autocast, and no gradient exchange while accumulating."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
