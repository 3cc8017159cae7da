"""The report of a benchmark: tables, the limits, and a picture of the ratios."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...figures.style import STYLES, new_figure, plain_axes, save_figure
from ...utils.files import write_text
from ...utils.python39 import zip_strict
from ...utils.text import markdown_table
from ..tables import environment_text, group_cells, results_table
from .cases import BASELINE, GRID, MOBILENET, NORMS, ModelCase
from .results import ResultFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


__all__ = [
    'LIMITS',
    'TITLES',
    'Limit',
    'check_limits',
    'limits_table',
    'plot_ratios',
    'write_benchmark',
    'write_report',
]


LABELS = {key: norm.label for key, norm in NORMS.items()}


STEPS = {
    'train': 'training step (forward, loss, backward)',
    'eval': 'forward pass in evaluation, without gradients',
}


TITLES = {'train': 'training step', 'eval': 'evaluation'}


LEGEND = (
    'Medians over the rounds, in which all norms take turns in one process. `time / BN` is a '
    'ratio of medians, in brackets the quartiles over the ratios of single rounds. *saved* '
    'is what the forward pass keeps for the backward pass, *peak* the most that a step holds '
    'besides weights and input.'
)


ROUNDS, THREADS = 9, 2


def write_benchmark(results: ResultFile, out: Path) -> tuple[str, list[str], bool]:
    """Write ``benchmark.md`` and, where there is something to draw, ``ratios.png`` into a folder.

    Args:
        results (ResultFile): Finished cases.
        out (Path): The folder.

    Returns:
        tuple[str, list[str], bool]: What was written, the names of the files, and whether no
        limit was missed.
    """
    text = write_report(results, out)
    drawn = plot_ratios(results, out / 'ratios.png')
    met = all(verdict != 'missed' for _, _, verdict in check_limits(results))
    return text, ['benchmark.md', *['ratios.png'] * drawn], met


def write_report(results: ResultFile, out: Path) -> str:
    """Write ``benchmark.md`` into a folder.

    Args:
        results (ResultFile): Finished cases.
        out (Path): The folder.

    Returns:
        str: What was written.
    """
    parts = ['# Time and memory of models', environment_text(results.environment), LEGEND]
    kinds = 'model', 'mode', 'layout', 'dtype', 'optimizer', 'compile'
    groups = group_cells(results.cells, *kinds)
    for (model, mode, layout, dtype, optimizer, compiled), cells in groups.items():
        step = STEPS[mode] + (' and SGD' if optimizer and mode == 'train' else '')
        step += ', compiled' if compiled else ''
        cells = sorted(cells, key=lambda cell: (cell['size'], cell['batch']))
        parts += [
            f'## {model}: {step}, {layout}, {dtype}',
            results_table(
                cells, 'batch x size', lambda cell: f'{cell["batch"]} x {cell["size"]}', LABELS
            ),
        ]
    if any(model == MOBILENET for model, *_ in groups):  # What the limits are about.
        parts += ['## Limits', markdown_table(limits_table(results))]
    text = '\n\n'.join(parts) + '\n'
    write_text(out / 'benchmark.md', text)
    return text


def plot_ratios(results: ResultFile, file: str | Path) -> bool:
    """Draw the ratios of the times: a row for each kind of step, a column for each resolution.

    A kind of step is a model, mode, layout and dtype, compiled or not; it is drawn where it was
    measured at two or more batch sizes or resolutions.

    Args:
        results (ResultFile): Finished cases.
        file (str | Path): The picture, .png, .svg or .pdf.

    Returns:
        bool: Whether there was something to draw.
    """
    kinds = group_cells(results.cells, 'model', 'mode', 'layout', 'dtype', 'compile')
    kinds = {kind: cells for kind, cells in kinds.items() if len(cells) > 1}
    if not kinds:
        return False
    sizes = sorted({cell['size'] for cells in kinds.values() for cell in cells})
    width = max(1.2 + 2.6 * len(sizes), 6.4)
    figure = new_figure(width, 0.7 + 2.4 * len(kinds))
    panels = figure.subplots(len(kinds), len(sizes), squeeze=False, sharey='row')
    lines = {}
    for row, ((model, mode, layout, dtype, compiled), cells) in zip_strict(panels, kinds.items()):
        counts = Counter(found['norm'] for cell in cells for found in cell['rows'])
        # What was measured once has no line.
        norms = [norm for norm in NORMS if norm != BASELINE and counts[norm] > 1]
        for axes, size in zip_strict(row, sizes):
            lines |= _draw(axes, [cell for cell in cells if cell['size'] == size], norms)
            how = ', compiled' if compiled else ''
            axes.set_title(f'{TITLES[mode]}{how} at {size}', fontsize=9)
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
    axes: Axes, cells: Sequence[Mapping[str, Any]], norms: Sequence[str]
) -> dict[str, Line2D]:
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
            x, y, low, high = zip_strict(*points)
            (lines[LABELS[norm]],) = axes.plot(
                x, y, color=color, marker=marker, linestyle=line, markersize=4
            )
            axes.vlines(x, low, high, color=color, alpha=0.5)
    axes.set_xscale('log', base=2)
    axes.set_xticks(batches, map(str, batches))
    axes.minorticks_off()
    axes.margins(x=0.15)
    return lines


@dataclass(frozen=True)
class Limit:
    """The most that one number of MobileNetV2 may be.

    Attributes:
        mode (str): Of the case.
        layout (str): Of the case.
        norm (str): Key of ``NORMS``.
        most (float): The largest ratio to BN that meets it.
        quantity (str): 'ratio' for time, 'saved_ratio' for what is kept for the backward.
        device (str): 'cpu' with two threads, or 'cuda'.
        dtype (str): Of the case.
        batch (int): Of the case.
        size (int): Of the case.
    """

    mode: str
    layout: str
    norm: str
    most: float
    quantity: str = 'ratio'
    device: str = 'cpu'
    dtype: str = 'float32'
    batch: int = 8
    size: int = 224

    @property
    def place(self) -> tuple:
        """Of its case."""
        shared = {name: getattr(self, name) for name in GRID[1:]}
        return ModelCase(**shared).place


# Medians of at least nine interleaved rounds; on a CPU two threads, on CUDA either layout counts.
LIMITS = (
    Limit('train', 'contiguous', 'DNB', 0.75),
    Limit('train', 'channels_last', 'DNB', 0.85),
    Limit('train', 'contiguous', 'DNB', 1.10, batch=1),
    Limit('train', 'contiguous', 'DNB', 1.00, batch=2),
    Limit('train', 'contiguous', 'DNB-unfolded', 0.90),
    Limit('train', 'channels_last', 'DNB-unfolded', 1.00),
    Limit('eval', 'contiguous', 'DNB', 1.00),
    Limit('eval', 'channels_last', 'DNB', 1.00),
    Limit('eval', 'contiguous', 'DNB', 1.10, batch=1),
    Limit('eval', 'contiguous', 'DNB-unfolded', 1.05),
    Limit('eval', 'channels_last', 'DNB-unfolded', 1.10),
    *(
        Limit('train', layout, norm, most, quantity='saved_ratio')
        for norm, most in (('DNB', 0.695), ('DNB-unfolded', 1.005), ('DNB-recompute', 0.365))
        for layout in ('contiguous', 'channels_last')
    ),
    Limit('train', 'contiguous', 'DNB-aten', 1.10),
    Limit('train', 'channels_last', 'DNB-aten', 1.20),
    *(
        Limit(mode, layout, 'DNB', most, device='cuda', dtype=dtype, batch=64, size=320)
        for mode, dtype, most in (
            ('train', 'float32', 1.05),
            ('train', 'bfloat16', 1.10),
            ('eval', 'float32', 1.05),
            ('eval', 'bfloat16', 1.05),
        )
        for layout in ('contiguous', 'channels_last')
    ),
)


def check_limits(results: ResultFile) -> list[tuple[Limit, float | None, str]]:
    """Hold each limit against what was measured.

    Args:
        results (ResultFile): Finished cases.

    Returns:
        list[tuple[Limit, float | None, str]]: The measured ratio and 'met' or 'missed'; None and
        'not run: ' with the reason where there is nothing to hold it against.
    """
    return [(limit, *_check(limit, results)) for limit in LIMITS]


def limits_table(results: ResultFile) -> list[tuple[str, ...]]:
    """Cells of a table of :func:`check_limits`, the header first."""
    rows = [('limit', 'measured', 'at most', 'verdict')]
    for limit, value, verdict in check_limits(results):
        what = 'time' if limit.quantity == 'ratio' else 'saved memory'
        text = (
            f'{limit.device}, {limit.mode}, {limit.layout}, {limit.dtype}, {limit.batch} x '
            f'{limit.size}: {what}, '
            f'{NORMS[limit.norm].label} / {BASELINE}'
        )
        rows.append((text, '' if value is None else f'{value:.3f}', f'{limit.most:g}', verdict))
    return rows


def _check(limit: Limit, results: ResultFile) -> tuple[float | None, str]:
    environment = results.environment
    if (environment['device'] == 'cpu') != (limit.device == 'cpu'):
        return None, f'not run: not on {limit.device}'
    cell = results.at(*limit.place) or {}
    row = next((row for row in cell.get('rows', ()) if row['norm'] == limit.norm), None)
    if row is None:
        return None, f'not run: {cell.get("left_out", {}).get(limit.norm, "not measured")}'
    if limit.quantity == 'ratio':
        if row['rounds'] < ROUNDS:
            return None, f'not run: {row["rounds"]} rounds, at least {ROUNDS} are needed'
        if limit.device == 'cpu' and environment['threads'] != THREADS:
            return None, f'not run: {environment["threads"]} threads, {THREADS} are needed'
    value = row[limit.quantity]
    return value, 'met' if value <= limit.most else 'missed'
