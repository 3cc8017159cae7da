"""The report of a benchmark: tables, the limits, and a picture of the ratios."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...figures.style import STYLES, new_figure, plain_axes, save_figure
from ...utils.files import write_text
from ...utils.text import markdown_table
from ..tables import environment_text, group_cells, results_table
from .cases import BASELINE, MOBILENET, NORMS
from .limits import limits_table
from .results import ResultFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ['plot_ratios', 'write_report']

LABELS = {key: norm.label for key, norm in NORMS.items()}
STEPS = {
    'train': 'training step (forward, loss, backward)',
    'eval': 'forward pass in evaluation, without gradients',
}
TITLES = {'train': 'training step', 'eval': 'evaluation'}
LEGEND = (
    'Medians over the rounds, in which all norms take turns in one process. `time / BN` is a '
    'ratio of medians, in brackets the quartiles over the ratios of single rounds. *saved* '
    'is what the forward pass leaves for the backward, *peak* the most that a step holds '
    'beside weights and input.'
)


def write_report(results: ResultFile, out: Path) -> str:
    """Write ``benchmark.md`` into a folder.

    Args:
        results (ResultFile): Finished cases.
        out (Path): The folder.

    Returns:
        str: What was written.
    """
    parts = [environment_text(results.environment), LEGEND]
    groups = group_cells(results.cells, 'model', 'mode', 'layout', 'dtype', 'optimizer')
    for (model, mode, layout, dtype, optimizer), cells in groups.items():
        step = STEPS[mode] + (' and SGD' if optimizer and mode == 'train' else '')
        cells = sorted(cells, key=lambda cell: (cell['size'], cell['batch']))
        parts += [
            f'### {model}: {step}, {layout}, {dtype}',
            results_table(
                cells, 'batch x size', lambda cell: f'{cell["batch"]} x {cell["size"]}', LABELS
            ),
        ]
    if any(model == MOBILENET for model, *_ in groups):  # What the limits are about.
        parts += ['### Limits', markdown_table(limits_table(results))]
    text = '\n\n'.join(parts) + '\n'
    write_text(out / 'benchmark.md', text)
    return text


def plot_ratios(results: ResultFile, file: str | Path) -> bool:
    """Draw the ratios of the times: a row for each kind of step, a column for each resolution.

    A kind of step is a model, mode, layout and dtype; it is drawn where it was measured at two
    or more batch sizes or resolutions.

    Args:
        results (ResultFile): Finished cases.
        file (str | Path): The picture, .png, .svg or .pdf.

    Returns:
        bool: Whether there was something to draw.
    """
    kinds = group_cells(results.cells, 'model', 'mode', 'layout', 'dtype')
    kinds = {kind: cells for kind, cells in kinds.items() if len(cells) > 1}
    if not kinds:
        return False
    sizes = sorted({cell['size'] for cells in kinds.values() for cell in cells})
    width = max(1.2 + 2.6 * len(sizes), 6.4)
    figure = new_figure(width, 0.7 + 2.4 * len(kinds))
    panels = figure.subplots(len(kinds), len(sizes), squeeze=False, sharey='row')
    lines = {}
    for row, ((model, mode, layout, dtype), cells) in zip(panels, kinds.items(), strict=True):
        counts = Counter(found['norm'] for cell in cells for found in cell['rows'])
        # What was measured once has no line.
        norms = [norm for norm in NORMS if norm != BASELINE and counts[norm] > 1]
        for axes, size in zip(row, sizes, strict=True):
            lines |= _draw(axes, [cell for cell in cells if cell['size'] == size], norms)
            axes.set_title(f'{TITLES[mode]} at {size}', fontsize=9)
            plain_axes(axes)
        row[0].set_ylabel(f'time / BN\n{Path(model).stem}, {layout},\n{dtype}', fontsize=8)
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
    save_figure(figure, file)
    return True


def _draw(
    axes: 'Axes', cells: Sequence[Mapping[str, Any]], norms: Sequence[str]
) -> dict[str, 'Line2D']:
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
            (lines[LABELS[norm]],) = axes.plot(
                x, y, color=color, marker=marker, linestyle=line, markersize=4
            )
            axes.vlines(x, low, high, color=color, alpha=0.5)
    axes.set_xscale('log', base=2)
    axes.set_xticks(batches, map(str, batches))
    axes.minorticks_off()
    axes.margins(x=0.15)
    return lines
