"""Ratio to BN against batch size, a panel for each resolution."""

from collections import Counter
from pathlib import Path

from ...engine.atomic import atomic_write
from ..curves import STYLES
from .cells import BASELINE, NORMS
from .results import Results

__all__ = ['plot_ratios']

MODES = {'train': 'training step', 'eval': 'evaluation'}


def plot_ratios(results: Results, file: str | Path) -> bool:
    """Draw the ratios of the times: a row for each kind of step, a column for each resolution.

    A kind of step is a model, mode, layout and dtype; it is drawn where it was measured at two
    or more batch sizes or resolutions.

    Args:
        results (Results): finished cells.
        file (str | Path): the picture, .png, .svg or .pdf.

    Returns:
        bool: whether there was something to draw.
    """
    kinds: dict[tuple, list[dict]] = {}
    for cell in results.cells:
        kind = cell['model'], cell['mode'], cell['layout'], cell['dtype']
        kinds.setdefault(kind, []).append(cell)
    kinds = {kind: cells for kind, cells in kinds.items() if len(cells) > 1}
    if not kinds:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = sorted({cell['size'] for cells in kinds.values() for cell in cells})
    width = max(1.2 + 2.6 * len(sizes), 6.4)
    figure = Figure(figsize=(width, 0.7 + 2.4 * len(kinds)), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(kinds), len(sizes), squeeze=False, sharey='row')
    lines = {}
    for row, (kind, cells) in zip(panels, kinds.items(), strict=True):
        counts = Counter(found['norm'] for cell in cells for found in cell['rows'])
        # What was measured once has no line.
        norms = [norm for norm in NORMS if norm != BASELINE and counts[norm] > 1]
        for axes, size in zip(row, sizes, strict=True):
            lines |= _draw(axes, [cell for cell in cells if cell['size'] == size], norms)
            axes.set_title(f'{MODES[kind[1]]} at {size}', fontsize=9)
            axes.grid(alpha=0.3)
            axes.spines[['top', 'right']].set_visible(False)
        row[0].set_ylabel(f'time / BN\n{Path(kind[0]).stem}, {kind[2]},\n{kind[3]}', fontsize=8)
    for axes in panels[-1]:
        axes.set_xlabel('batch size')
    figure.legend(
        lines.values(),
        lines.keys(),
        loc='outside lower center',
        frameon=False,
        ncols=int(width / 2.1),
        fontsize=8,
    )
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])
    return True


def _draw(axes, cells, norms):
    """Draw a panel; return its lines by their labels."""
    axes.set_visible(bool(cells))
    cells = sorted(cells, key=lambda cell: cell['batch'])
    batches = [cell['batch'] for cell in cells]
    axes.axhline(1.0, color='#888888', linewidth=0.8)
    lines = {}
    for norm in norms:
        points = [
            (cell['batch'], row['ratio'], row['ratio_q1'], row['ratio_q3'])
            for cell in cells
            for row in cell['rows']
            if row['norm'] == norm
        ]
        if points:
            # A norm looks the same in every picture, whatever else is in it.
            color, marker, line = STYLES[list(NORMS).index(norm) % len(STYLES)]
            x, y, low, high = zip(*points, strict=True)
            (lines[NORMS[norm].label],) = axes.plot(
                x, y, color=color, marker=marker, linestyle=line, markersize=4
            )
            axes.vlines(x, low, high, color=color, alpha=0.5)
    axes.set_xscale('log', base=2)
    axes.set_xticks(batches, map(str, batches))
    axes.minorticks_off()
    axes.margins(x=0.15)
    return lines
