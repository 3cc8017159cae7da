"""Whole models with BN, DN-B and other norms: time and memory side by side."""

from .cells import NORMS, PRESETS, Cell, Norm, grid
from .report import BARS, Bar, judge
from .run import run_benchmark

__all__ = ['BARS', 'NORMS', 'PRESETS', 'Bar', 'Cell', 'Norm', 'grid', 'judge', 'run_benchmark']
