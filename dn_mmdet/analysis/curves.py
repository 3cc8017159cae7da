"""Metric against epoch (the paper's Figure 3)."""

from itertools import cycle
from pathlib import Path

from ..engine.atomic import atomic_write

__all__ = ['plot_curves']

# Distinct in colour and, for who cannot tell them apart or prints in grey, in marker and line.
STYLES = (('#0072b2', 'o', '-'), ('#d55e00', 's', '--'), ('#009e73', '^', '-.'),
          ('#cc79a7', 'D', ':'))


def plot_curves(curves, file, ylabel='mAP', title=''):
    """Draw one line for each run and write the picture.

    Args:
        curves (dict[str, tuple[Sequence[int], Sequence[float]]]): label to epochs and values.
        file (str | Path): where the picture goes, .png, .svg or .pdf.
        ylabel (str): what the values are. Default: 'mAP'.
        title (str): a line above the plot. Default: none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (label, (epochs, values)), style in zip(curves.items(), cycle(STYLES), strict=False):
        color, marker, line = style
        axes.plot(epochs, values, label=label, color=color, marker=marker, linestyle=line)
        if values:
            axes.annotate(
                f'{values[-1]:.3f}', (epochs[-1], values[-1]),
                color=color,
                xytext=(6, 0),
                textcoords='offset points',
                va='center')
    axes.set_xlabel('epoch')
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, loc='upper left')
    if title:
        axes.set_title(title, fontsize=10)
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])
