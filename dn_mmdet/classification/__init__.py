"""Image classification on mmengine's Runner: what pretrains the detectors' backbones.

A small counterpart of mmpretrain, which imports torchvision and so cannot be required here. All
names are registered in mmengine's root registries.
"""

from .accuracy import TopKAccuracy
from .classifier import ImageClassifier
from .color_jitter import ColorJitter
from .image_folder import ImageFolder
from .image_list import ImageList
from .transforms import PackClassInputs, RandomResizedCrop

__all__ = [
    'ColorJitter',
    'ImageClassifier',
    'ImageFolder',
    'ImageList',
    'PackClassInputs',
    'RandomResizedCrop',
    'TopKAccuracy',
]
