"""Data sets that dn_mmdet makes itself, and lists of those that it reads.

Without mmengine only the digits are there.
"""

from importlib.util import find_spec

from .digits import DigitsSpec, build_digits_coco

__all__ = ['DigitsSpec', 'build_digits_coco']

if find_spec('mmengine'):
    from .imagenet100 import build_imagenet100

    __all__ += ['build_imagenet100']
