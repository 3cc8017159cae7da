"""What is measured and drawn of models and runs."""

from .complexity import Complexity, count_complexity

__all__ = ['Complexity', 'count_complexity']
