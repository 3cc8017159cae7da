"""Metric against epoch (the paper's Figure 3), one line a run or a band over seeds."""

import math
from itertools import cycle
from pathlib import Path

from ..utils.files import atomic_write

__all__ = ['STYLES', 'plot_bands', 'plot_curves']

# Distinct in colour and, for who cannot tell them apart or prints in grey, in marker and line.
STYLES = (
    ('#0072b2', 'o', '-'),
    ('#d55e00', 's', '--'),
    ('#009e73', '^', '-.'),
    ('#cc79a7', 'D', ':'),
    ('#56b4e9', 'v', '-'),
    ('#e69f00', 'P', '--'),
    ('#000000', 'X', '-.'),
)


def plot_curves(curves, file, ylabel='mAP', title=''):
    """Draw one line for each run and write the picture.

    Args:
        curves (dict[str, tuple[Sequence[int], Sequence[float]]]): label to epochs and values.
        file (str | Path): where the picture goes, .png, .svg or .pdf.
        ylabel (str): what the values are. Default: 'mAP'.
        title (str): a line above the plot. Default: none.
    """
    figure, axes = _figure('epoch', ylabel, title)
    for (label, (epochs, values)), style in zip(curves.items(), cycle(STYLES), strict=False):
        color, marker, line = style
        axes.plot(epochs, values, label=label, color=color, marker=marker, linestyle=line)
        if values:
            _annotate(axes, epochs[-1], values[-1], color)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc='upper left')
    _save(figure, file)


def plot_bands(curves, file, xlabel='epoch', ylabel='mAP', title='', markers=True):
    """Draw the mean over seeds of each setting, and the range of its seeds as a band.

    Args:
        curves (dict[str, Sequence[tuple[Sequence[int], Sequence[float]]]]): label to the steps and
            values of each seed; a step counts where every seed of the setting has it.
        file (str | Path): where the picture goes, .png, .svg or .pdf.
        xlabel (str): what the steps are. Default: 'epoch'.
        ylabel (str): what the values are. Default: 'mAP'.
        title (str): a line above the plot. Default: none.
        markers (bool): mark every step and write the last mean beside it where there is room.
            Default: True.
    """
    # Small for its letters, which are read on a phone too.
    figure, axes = _figure(xlabel, ylabel, title, size=(4.8, 3.0), dpi=200)
    ends = []
    for number, (label, seeds) in enumerate(curves.items()):
        # A colour that comes again comes with another marker and line.
        turn, place = divmod(number, len(STYLES))
        color, (_, marker, line) = STYLES[place][0], STYLES[(place + turn) % len(STYLES)]
        points = [dict(zip(*seed, strict=True)) for seed in seeds]
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
    _save(figure, file)


def _figure(xlabel, ylabel, title, size=(6.4, 4.0), dpi=150):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=size, dpi=dpi, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    if title:
        axes.set_title(title, fontsize=10)
    return figure, axes


def _annotate(axes, x, y, color, at=None):
    # Accuracies are in percent, COCO's average precision is a share.
    axes.annotate(
        f'{y:.3f}' if abs(y) <= 1 else f'{y:.2f}',
        (x, y if at is None else at),
        color=color,
        xytext=(6, 0),
        textcoords='offset points',
        va='center',
    )


def _save(figure, file):
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])
