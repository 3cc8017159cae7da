"""What this project tried: the demonstration, the embedded comparison and the ablations."""

from .ablations import run_ablations
from .demo import run_demo
from .detection import compare_embedded

__all__ = ['compare_embedded', 'run_ablations', 'run_demo']
