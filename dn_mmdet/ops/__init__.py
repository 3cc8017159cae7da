"""Operators of the layers; torch is all they need."""

from .dispatch import choose_path, use_path
from .functional import dynamic_batch_norm
from .recompute import recompute_outputs
from .reference import modulate
from .sc import SCWeights, scale_shift

__all__ = [
    'SCWeights',
    'choose_path',
    'dynamic_batch_norm',
    'modulate',
    'recompute_outputs',
    'scale_shift',
    'use_path',
]
