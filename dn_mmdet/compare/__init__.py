"""Runs side by side: what may be said of BN against DN-B, with seeds, curves and tables."""

from .compare_configs import compare_configs
from .compare_runs import compare_runs
from .comparison import Comparison, compare_folders
from .embedded import compare_embedded

__all__ = ['Comparison', 'compare_configs', 'compare_embedded', 'compare_folders', 'compare_runs']
