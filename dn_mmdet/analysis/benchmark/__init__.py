"""Whole models with BN, DN-B and other norms: time and memory side by side."""

from .bars import BARS, Bar, judge
from .cells import NORMS, PRESETS, Cell, Norm, grid
from .run import run_benchmark

__all__ = ['BARS', 'NORMS', 'PRESETS', 'Bar', 'Cell', 'Norm', 'grid', 'judge', 'run_benchmark']
