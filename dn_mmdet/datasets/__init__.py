"""Data sets that dn_mmdet makes itself."""
from .digits import DigitsSpec, build_digits_coco

__all__ = ['DigitsSpec', 'build_digits_coco']
