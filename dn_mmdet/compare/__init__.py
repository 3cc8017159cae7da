"""Runs side by side: what can be claimed for BN against DN-B, with seeds, curves and tables."""

from .comparison import Comparison, compare_folders
from .run import compare_configs, compare_runs

__all__ = ['Comparison', 'compare_configs', 'compare_folders', 'compare_runs']
