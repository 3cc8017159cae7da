"""Data sets that dn_mmdet makes itself, and lists of those that it reads.

Nothing here needs torch or an OpenMMLab package.
"""

from .digits import DigitsSpec, build_digits_coco
from .imagenet100 import build_imagenet100

__all__ = ['DigitsSpec', 'build_digits_coco', 'build_imagenet100']
