"""Runs side by side: what may be said of BN against DN-B, with seeds, curves and tables."""

from .compare_runs import compare_runs
from .comparison import Comparison, compare_folders

__all__ = ['Comparison', 'compare_folders', 'compare_runs']
