"""Metric against epoch (the paper's Figure 3), one line a run or a band over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.python39 import zip_strict
from .style import STYLES, line_style, new_figure, plain_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['plot_bands', 'plot_curves']

Curve = tuple[Sequence[int], Sequence[float]]  # steps, and the value at each


def plot_curves(
    curves: Mapping[str, Curve], file: str | Path, ylabel: str = 'mAP', title: str = ''
) -> None:
    """Draw one line for each run and write the picture.

    Args:
        curves (Mapping[str, Curve]): Label to epochs and values.
        file (str | Path): The picture, .png, .svg or .pdf.
        ylabel (str): What the values are. Defaults to 'mAP'.
        title (str): A line above the plot. Defaults to none.
    """
    figure, axes = _figure('epoch', ylabel, title)
    for (label, (epochs, values)), style in zip(curves.items(), cycle(STYLES)):
        color, marker, line = style
        axes.plot(epochs, values, label=label, color=color, marker=marker, linestyle=line)
        if values:
            _annotate(axes, epochs[-1], values[-1], color)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc='upper left')
    save_figure(figure, file)


def plot_bands(
    curves: Mapping[str, Sequence[Curve]],
    file: str | Path,
    xlabel: str = 'epoch',
    ylabel: str = 'mAP',
    title: str = '',
    markers: bool = True,
) -> None:
    """Draw the mean over seeds of each setting, and the range of its seeds as a band.

    Args:
        curves (Mapping[str, Sequence[Curve]]): Label to the curve of each seed; a step counts
            where every seed of the setting has it.
        file (str | Path): The picture, .png, .svg or .pdf.
        xlabel (str): What the steps are. Defaults to 'epoch'.
        ylabel (str): What the values are. Defaults to 'mAP'.
        title (str): A line above the plot. Defaults to none.
        markers (bool): Mark every step and write the last mean next to it where there is room.
            Defaults to True.
    """
    # Small for its letters, which are read on a phone too.
    figure, axes = _figure(xlabel, ylabel, title, (4.8, 3.0), dpi=200)
    ends = []
    for number, (label, seeds) in enumerate(curves.items()):
        color, marker, line = line_style(number)
        points = [dict(zip_strict(*seed)) for seed in seeds]
        steps = sorted(set.intersection(*map(set, points))) if points else []
        columns = [[point[step] for point in points] for step in steps]
        means = [sum(column) / len(column) for column in columns]
        axes.plot(
            steps,
            means,
            label=label,
            color=color,
            linestyle=line,
            marker=marker if markers else None,
        )
        axes.fill_between(
            steps,
            [min(column) for column in columns],
            [max(column) for column in columns],
            color=color,
            alpha=0.18,
            linewidth=0,
        )
        if means and markers:
            ends.append((steps[-1], means[-1], color))
    # Two numbers in one place could not be read: the lower is moved down by a line, or left out.
    apart = 0.07 * (axes.get_ylim()[1] - axes.get_ylim()[0])
    free = math.inf
    for x, y, color in sorted(ends, key=lambda end: end[1], reverse=True):
        place = min(y, free)
        if y - place <= apart:
            _annotate(axes, x, y, color, place)
            free = place - apart
    if len(curves) <= 4:
        axes.legend(frameon=False)
    else:  # over the curves it would hide some
        rows = -(-len(curves) // 2)
        figure.set_figheight(3.0 + 0.2 * rows)
        figure.legend(frameon=False, loc='outside lower center', ncols=2, fontsize=9)
    save_figure(figure, file)


def _figure(
    xlabel: str, ylabel: str, title: str, size: tuple[float, float] = (6.4, 4.0), dpi: float = 150
) -> tuple[Figure, Axes]:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(*size, dpi)
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(axes)
    if title:
        axes.set_title(title, fontsize=10)
    return figure, axes


def _annotate(axes: Axes, x: float, y: float, color: str, at: float | None = None) -> None:
    # Accuracies are in percent, COCO's average precision is a share.
    axes.annotate(
        f'{y:.3f}' if abs(y) <= 1 else f'{y:.2f}',
        (x, y if at is None else at),
        color=color,
        xytext=(6, 0),
        textcoords='offset points',
        va='center',
    )
