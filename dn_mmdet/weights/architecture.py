"""The convolutions and norms of a MobileNetV2 or ResNet of mmdet, found in the keys of its state.

What others call the same layers follows from their places, so that no list of names is needed, and
other depths and widths are served too.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

__all__ = ['MOBILENET_V2', 'RESNET', 'Unit', 'find_backbone']

MOBILENET_V2, RESNET = 'MobileNetV2', 'ResNet'


@dataclass(frozen=True)
class Unit:
    """A convolution and the norm behind it.

    Args:
        conv (str): Place of the convolution in the backbone.
        norm (str): Place of the norm.
        part (str): 'stem', 'expand', 'depthwise', 'linear', 'conv', 'downsample' or 'last'.
        stage (int): From 1. Defaults to 0, in no stage.
        block (int): In its stage, from 0. Defaults to 0.
        number (int): Of the convolution in its block: from 0 in a MobileNetV2, from 1 in a ResNet,
            whose shortcut is 0. Defaults to 0.
        blocks (int): Blocks of the whole backbone before this one. Defaults to 0.
    """

    conv: str
    norm: str
    part: str
    stage: int = 0
    block: int = 0
    number: int = 0
    blocks: int = 0


def find_backbone(keys: Collection[str]) -> tuple[str, str, list[Unit]] | None:
    """Find a MobileNetV2 or ResNet with the names of mmdet.

    Args:
        keys (Collection[str]): Of a state dict, in its order; the norms may be of any kind.

    Returns:
        tuple[str, str, list[Unit]] | None: :data:`MOBILENET_V2` or :data:`RESNET`, what its keys
        begin with in the state dict, and its layers; None if there is neither.
    """
    for name, first, stem, units in (
        (MOBILENET_V2, 'layer1.0.depthwise_conv.conv.weight', 'conv1.conv.weight', _mobilenet_v2),
        (RESNET, 'layer1.0.conv1.weight', 'conv1.weight', _resnet),
    ):
        for key in keys:
            prefix = key.removesuffix(first)
            if prefix != key and prefix + stem in keys and (not prefix or prefix.endswith('.')):
                return name, prefix, units([k[len(prefix) :] for k in keys if k.startswith(prefix)])
    return None


def _mobilenet_v2(keys: list[str]) -> list[Unit]:
    units, last, number, blocks = [_unit('conv1', 'stem')], None, 0, -1
    for key in keys:
        found = re.fullmatch(
            r'layer(\d+)\.(\d+)\.(expand|depthwise|linear)_conv\.conv\.weight', key
        )
        if found:
            stage, block = int(found[1]), int(found[2])
            number = number + 1 if (stage, block) == last else 0
            blocks += number == 0
            last = stage, block
            place = key.removesuffix('.conv.weight')
            units.append(_unit(place, found[3], stage, block, number, blocks))
    return [*units, _unit('conv2', 'last', blocks=blocks + 1)]


def _unit(place: str, part: str, *numbers: int, **more: int) -> Unit:
    return Unit(f'{place}.conv', f'{place}.bn', part, *numbers, **more)


def _resnet(keys: list[str]) -> list[Unit]:
    units = [Unit('conv1', 'bn1', 'stem')]
    for key in keys:
        found = re.fullmatch(r'(layer(\d+)\.(\d+)\.)(?:conv(\d)|downsample\.0)\.weight', key)
        if found:
            place, stage, block, number = found[1], int(found[2]), int(found[3]), int(found[4] or 0)
            norm = f'{place}bn{number}' if number else f'{place}downsample.1'
            part = 'conv' if number else 'downsample'
            units.append(Unit(key.removesuffix('.weight'), norm, part, stage, block, number))
    return units
