"""Accuracy against learning rate and batch size, with the range over the seeds."""

from pathlib import Path

from ..analysis.curves import STYLES
from ..analysis.seed_statistics import summarise
from ..engine.atomic import atomic_write

__all__ = ['plot_robustness']


def plot_robustness(results, tables, file):
    """Draw one panel for the learning rates and one for the batch sizes.

    Args:
        results (Results): finished cells.
        tables (dict[str, list[Cell]]): what :func:`dn_mmdet.ablations.cells.plan` returns.
        file (Path): the picture, .png, .svg or .pdf. A run that diverged counts as 0.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    for axes, table, key, name in (
        (left, 'learning rate', 'lr', 'learning rate'),
        (right, 'batch size', 'batch_size', 'batch size'),
    ):
        _draw(axes, results, tables[table], key)
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    left.set_ylabel('top-1 on held-out digits, percent')
    left.set_ylim(0, 100)
    right.legend(frameon=False, loc='lower right')
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])


def _draw(axes, results, cells, key):
    lines = {}
    for cell in cells:
        lines.setdefault(cell.label, {}).setdefault(getattr(cell, key), []).append(cell)
    places = sorted({getattr(cell, key) for cell in cells})
    for (label, points), (color, marker, line) in zip(lines.items(), STYLES, strict=False):
        drawn = []
        for value, group in points.items():
            found = summarise(results.of_all(group), 'val')
            values = [*found.values.values(), *(0.0 for _ in found.diverged)]
            if values:
                drawn.append(
                    (places.index(value), min(values), sum(values) / len(values), max(values))
                )
        if not drawn:
            continue
        x, low, mean, high = zip(*sorted(drawn), strict=True)
        axes.plot(x, mean, label=label, color=color, marker=marker, linestyle=line)
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.margins(x=0.08)
    axes.set_xticks(range(len(places)), [f'{place:g}' for place in places])
