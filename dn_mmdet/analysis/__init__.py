"""What is measured and drawn of models and runs."""

from .complexity import Complexity, count_complexity
from .config_complexity import ConfigComplexity, config_complexity, print_config_complexity
from .paper_table import PAPER_ROWS, check_paper_rows, print_paper_table

__all__ = [
    'PAPER_ROWS',
    'Complexity',
    'ConfigComplexity',
    'check_paper_rows',
    'config_complexity',
    'count_complexity',
    'print_config_complexity',
    'print_paper_table',
]
