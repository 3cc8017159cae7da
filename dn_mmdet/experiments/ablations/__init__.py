"""The paper's ablations in small: which norm stands what, on the embedded digits."""

from .run import run_ablations

__all__ = ['run_ablations']
