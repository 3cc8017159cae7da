"""Whole models with BN, DN-B and other norms: time and memory side by side."""

from .cases import NORMS, PRESETS, ModelCase, Norm, grid
from .report import LIMITS, Limit, check_limits
from .run import run_benchmark

__all__ = [
    'LIMITS',
    'NORMS',
    'PRESETS',
    'Limit',
    'ModelCase',
    'Norm',
    'check_limits',
    'grid',
    'run_benchmark',
]
