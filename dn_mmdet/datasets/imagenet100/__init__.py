"""ImageNet-100: annotation lists of 100 of ILSVRC-2012's 1000 classes, without copies of images."""

from .build import build_imagenet100, find_bad_images
from .lists import (
    NAMED,
    SHIPPED,
    draw,
    draw_classes,
    ilsvrc2012_synsets,
    make_lists,
    read_synsets,
    write_lists,
)
from .tree import find_class_images, find_validation_labels

__all__ = [
    'NAMED',
    'SHIPPED',
    'build_imagenet100',
    'draw',
    'draw_classes',
    'find_bad_images',
    'find_class_images',
    'find_validation_labels',
    'ilsvrc2012_synsets',
    'make_lists',
    'read_synsets',
    'write_lists',
]
