"""Training runs as jobs: processes of ``tools/train.py``, resumable, several at a time."""

from .progress import Progress, Step
from .run_all import run_all, threads_each
from .training import Training

__all__ = ['Progress', 'Step', 'Training', 'run_all', 'threads_each']
