"""What mmpretrain, torchvision and Keras call the layers of a backbone, and how they train it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .architecture import MOBILENET_V2, RESNET, Unit

__all__ = ['CONVENTIONS', 'OWN', 'Convention', 'Training']

# A unit to what its convolution and its norm are called.
Naming = Callable[[Unit], tuple[str, str]]


@dataclass(frozen=True)
class Training:
    """What weights were trained with, as far as a model that takes them over has to know it.

    Args:
        mean (Sequence[float]): Subtracted from the pixels, which go from 0 to 255.
        std (Sequence[float]): The pixels are then divided by it.
        rgb (bool): Whether the channels are red, green, blue, and not the other way around.
            Defaults to True.
        eps (float, optional): Of the BatchNorms. Defaults to None, not known.
    """

    mean: Sequence[float]
    std: Sequence[float]
    rgb: bool = True
    eps: float | None = None


@dataclass(frozen=True)
class Convention:
    """One way to name the layers.

    Args:
        owner (str): Whose it is, for messages.
        naming (Mapping[str, Naming]): Architecture to the names of its layers.
        heads (Mapping[str, Sequence[str]]): Architecture to what the classifier may be called.
        training (Mapping[str, Training]): Architecture to what the published weights were trained
            with. Defaults to not known.
        remarks (Mapping[str, str]): Architecture to what else is to be known. Defaults to nothing.
        keras (bool): Whether variables have the names and layouts of Keras. Defaults to False.
    """

    owner: str
    naming: Mapping[str, Naming]
    heads: Mapping[str, Sequence[str]]
    training: Mapping[str, Training] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    keras: bool = False


def _own(unit: Unit) -> tuple[str, str]:
    return unit.conv, unit.norm


def _mmpretrain_mobilenet_v2(unit: Unit) -> tuple[str, str]:
    if not unit.stage:
        return _own(unit)
    place = f'layer{unit.stage}.{unit.block}.conv.{unit.number}'
    return f'{place}.conv', f'{place}.bn'


def _torchvision_mobilenet_v2(unit: Unit) -> tuple[str, str]:
    place = f'features.{0 if unit.part == "stem" else unit.blocks + 1}'
    if unit.stage:
        place += f'.conv.{unit.number}'
    if unit.part == 'linear':  # It has no activation, and so no module of its own.
        return place, f'{place.rpartition(".")[0]}.{unit.number + 1}'
    return f'{place}.0', f'{place}.1'


def _keras_mobilenet_v2(unit: Unit) -> tuple[str, str]:
    if not unit.stage:
        return ('Conv1', 'bn_Conv1') if unit.part == 'stem' else ('Conv_1', 'Conv_1_bn')
    block = f'block_{unit.blocks}' if unit.blocks else 'expanded_conv'
    name = f'{block}_{"project" if unit.part == "linear" else unit.part}'
    return name, f'{name}_BN'


def _keras_resnet(unit: Unit) -> tuple[str, str]:
    name = f'conv{unit.stage + 1}_block{unit.block + 1}_{unit.number}' if unit.stage else 'conv1'
    return f'{name}_conv', f'{name}_bn'


IMAGENET = Training((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), eps=1e-5)

# That of mmdet, and so of this package, with everything else that a model has.
OWN = Convention('mmdet', {MOBILENET_V2: _own, RESNET: _own}, {})
CONVENTIONS = (
    Convention(
        'mmpretrain',
        {MOBILENET_V2: _mmpretrain_mobilenet_v2, RESNET: _own},
        {MOBILENET_V2: ('head.fc',), RESNET: ('head.fc',)},
        {MOBILENET_V2: IMAGENET, RESNET: IMAGENET},
    ),
    Convention(
        'torchvision',
        {MOBILENET_V2: _torchvision_mobilenet_v2, RESNET: _own},
        {MOBILENET_V2: ('classifier.1',), RESNET: ('fc',)},
        {MOBILENET_V2: IMAGENET, RESNET: IMAGENET},
    ),
    Convention(
        'Keras',
        {MOBILENET_V2: _keras_mobilenet_v2, RESNET: _keras_resnet},
        {MOBILENET_V2: ('predictions', 'Logits'), RESNET: ('predictions', 'fc1000', 'probs')},
        {
            MOBILENET_V2: Training((127.5,) * 3, (127.5,) * 3, eps=1e-3),
            RESNET: Training((103.939, 116.779, 123.68), (1.0,) * 3, rgb=False, eps=1.001e-5),
        },
        {
            MOBILENET_V2: 'Keras pads convolutions of stride 2 at the bottom and right alone, '
            'mmdet on all sides: these weights are a start for training, whose outputs are '
            "not Keras'.",
            RESNET: 'In Keras the first convolution of a block has the stride, as in mmdet with '
            "style='caffe' in the backbone.",
        },
        keras=True,
    ),
)
