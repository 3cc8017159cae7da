"""Parameters and multiply-adds of each group's model."""

from ..analysis.complexity import Complexity
from ..analysis.config_complexity import config_complexity
from ..engine.errors import UserError
from .groups import Group

__all__ = ['count_sizes', 'size_cells']


def count_sizes(groups: list[Group]) -> tuple[dict[str, Complexity], list[str]]:
    """Build each group's model from its configuration, without weights or data, and count.

    Args:
        groups (list[Group]): one or two seconds each.

    Returns:
        tuple[dict[str, Complexity], list[str]]: label to counts, and a sentence for each model
        that cannot be built here, as one of another package.
    """
    sizes, notes = {}, []
    for group in groups:
        try:
            sizes[group.label] = config_complexity(group.first.config_file).complexity
        except UserError as error:
            notes.append(f'#p and Mult-Adds of {group.label} could not be counted: {error}')
    return sizes, notes


def size_cells(size: Complexity | None) -> tuple[str, str]:
    """Both counts as the paper prints them, '2.36M' and '66.3M' or '0.81G'."""
    if size is None:
        return '-', '-'
    cost = (
        f'{size.mult_adds / 1e9:.2f}G' if size.mult_adds >= 5e8 else f'{size.mult_adds / 1e6:.1f}M'
    )
    return f'{size.params / 1e6:.2f}M', cost
