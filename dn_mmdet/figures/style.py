"""How every picture of the package looks, and how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    'COLORS',
    'PALETTE',
    'STYLES',
    'line_style',
    'new_figure',
    'plain_axes',
    'save_figure',
]

# Distinct in color and, for those who cannot tell them apart or print in gray, in marker and line.
STYLES = (
    ('#0072b2', 'o', '-'),
    ('#d55e00', 's', '--'),
    ('#009e73', '^', '-.'),
    ('#cc79a7', 'D', ':'),
    ('#56b4e9', 'v', '-'),
    ('#e69f00', 'P', '--'),
    ('#000000', 'X', '-.'),
)
# For lines that crowd too much to be told apart by marker or dashes.
COLORS = (*(color for color, _, _ in STYLES), '#f0e442', '#8c564b', '#7f3fbf')
# For boxes on images, red, green and blue from 0 to 255: they stand out on dark and light images
# alike; further classes start again.
PALETTE = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (67, 140, 255),
    (245, 130, 48),
    (200, 80, 255),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (250, 190, 212),
)


def line_style(number: int) -> tuple[str, str, str]:
    """Color, marker and dashes of a line; a color that comes again comes with others.

    Args:
        number (int): Of the line in its picture, from 0.
    """
    turn, place = divmod(number, len(STYLES))
    return STYLES[place][0], *STYLES[(place + turn) % len(STYLES)][1:]


def new_figure(width: float, height: float, dpi: float = 150) -> Figure:
    """A figure that needs no display and leaves the user's backend alone.

    Args:
        width (float): Inches.
        height (float): Inches.
        dpi (float): Pixels an inch. Defaults to 150.
    """
    # Not at the top: matplotlib takes a while, and most commands draw nothing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes) -> None:
    """A light grid, and no frame above and on the right."""
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)


def save_figure(figure: Figure, file: str | Path) -> None:
    """Write a figure, whole or not at all.

    Args:
        figure (Figure): Made by :func:`new_figure`.
        file (str | Path): The picture, .png, .svg or .pdf.
    """
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])
