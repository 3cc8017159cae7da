"""ReLU and ReLU6 as part of the DN-B layers in front of them."""

from mmcv.cnn import ConvModule
from torch import nn

from ..layers import DNB

__all__ = ['fold_activations']


def fold_activations(model: nn.Module) -> int:
    """Let every DN-B of a model apply the ReLU or ReLU6 that follows it.

    Each :class:`mmcv.cnn.ConvModule` of convolution, DN-B and activation, in this order, then
    computes what it did, in one pass less over its output. Names of parameters stay.

    Args:
        model (nn.Module): Changed in place.

    Returns:
        int: Number of activations folded.
    """
    folded = 0
    for module in model.modules():
        if isinstance(module, ConvModule) and _can_fold(module):
            module.norm.activation = type(module.activate).__name__
            module.activate = nn.Identity()
            module.with_activation = False
            folded += 1
    return folded


def _can_fold(module: ConvModule) -> bool:
    return (
        module.with_norm
        and module.with_activation
        and type(module.norm) is DNB
        and module.norm.activation is None
        and type(module.activate) in (nn.ReLU, nn.ReLU6)
        and module.order == ('conv', 'norm', 'act')
    )
