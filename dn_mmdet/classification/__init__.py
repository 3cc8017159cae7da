"""Image classification on mmengine's Runner: what pretrains the detectors' backbones.

A small counterpart of mmpretrain, which imports torchvision and so cannot be required here. All
names are registered in mmengine's root registries.
"""

from .accuracy import TopKAccuracy
from .classifier import ImageClassifier
from .datasets import ImageFolder, ImageList
from .transforms import ColorJitter, PackClassInputs, RandomResizedCrop

__all__ = [
    'ColorJitter',
    'ImageClassifier',
    'ImageFolder',
    'ImageList',
    'PackClassInputs',
    'RandomResizedCrop',
    'TopKAccuracy',
]
