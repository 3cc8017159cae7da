"""What this project tried: the demonstration, the comparisons and the ablations."""

from .ablations import run_ablations
from .bccd import compare_bccd
from .demo import run_demo
from .detection import compare_embedded

__all__ = ['compare_bccd', 'compare_embedded', 'run_ablations', 'run_demo']
