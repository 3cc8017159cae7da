"""The table of a benchmark."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...figures.curves import STYLES
from ...utils.files import atomic_write
from ...utils.text import markdown_table
from ..tables import results_table
from .cells import BASELINE, MOBILENET, NORMS
from .results import Results

__all__ = ['BARS', 'Bar', 'bars_table', 'judge', 'plot_ratios', 'write_report']


STEPS = {
    'train': 'training step (forward, loss, backward)',
    'eval': 'forward pass in evaluation, without gradients',
}


LEGEND = (
    'Medians over the rounds, in which all norms take turns in one process. `time / BN` is a '
    'ratio of medians, in brackets the quartiles over the ratios of single rounds. *saved* '
    'is what the forward pass leaves for the backward, *peak* the most that a step holds '
    'beside weights and input.'
)


ROUNDS, THREADS = 9, 2


MODES = {'train': 'training step', 'eval': 'evaluation'}


def write_report(results: Results, out: Path) -> str:
    """Write ``benchmark.md`` into a folder.

    Args:
        results (Results): finished cells.
        out (Path): the folder.

    Returns:
        str: what was written.
    """
    parts = [_machine(results.environment), LEGEND]
    groups: dict[tuple, list[dict]] = {}
    for cell in results.cells:
        key = cell['model'], cell['mode'], cell['layout'], cell['dtype'], cell['optimizer']
        groups.setdefault(key, []).append(cell)
    for (model, mode, layout, dtype, optimizer), cells in groups.items():
        step = STEPS[mode] + (' and SGD' if optimizer else '')
        parts.append(f'### {model}: {step}, {layout}, {dtype}')
        cells = sorted(cells, key=lambda cell: (cell['size'], cell['batch']))
        parts.append(
            results_table(
                [
                    (f'{cell["batch"]} x {cell["size"]}', dict(row, norm=NORMS[row['norm']].label))
                    for cell in cells
                    for row in cell['rows']
                ],
                'batch x size',
            )
        )
        parts += _notes(cells)
    if any(model == MOBILENET for model, *_ in groups):  # Whom the bars are about.
        parts += ['### Bars', markdown_table(bars_table(results))]
    text = '\n\n'.join(parts) + '\n'
    with atomic_write(out / 'benchmark.md') as file:
        file.write(text.encode())
    return text


def _machine(environment):
    device, threads = environment['device'], environment['threads']
    device = (
        f'{environment["cpu"]}, {threads} thread{"s" * (threads > 1)} on '
        f'{environment["cores"]} cores, {environment["capability"]}'
        if device == 'cpu'
        else f'{device}, CUDA {environment["cuda"]}, cuDNN {environment["cudnn"]}'
    )
    variables = ', '.join(f'{name}={value}' for name, value in environment['variables'].items())
    return (
        f'{device}; torch {environment["torch"]}, Python {environment["python"]}, dn_mmdet '
        f'{environment["dn_mmdet"]} ({environment["code"]}); denormals '
        f'{"flushed" if environment["flush_denormal"] else "kept"}; '
        f'{variables or "no variables set"}.'
    )


def _notes(cells):
    rounds = sorted({row['rounds'] for cell in cells for row in cell['rows']})
    notes = [f'Rounds: {", ".join(map(str, rounds))}.']
    left_out = {norm: reason for cell in cells for norm, reason in cell['left_out'].items()}
    notes += [f'Not run: {NORMS[norm].label} ({reason}).' for norm, reason in left_out.items()]
    return [' '.join(notes)]


@dataclass(frozen=True)
class Bar:
    """A limit for one number of MobileNetV2.

    Attributes:
        mode (str), layout (str): of the cell.
        norm (str): key of ``NORMS``.
        limit (float): the most that the ratio to BN may be.
        quantity (str): 'ratio' for time, 'saved_ratio' for what is kept for the backward.
        device (str): 'cpu' with two threads, or 'cuda'.
        dtype (str): of the cell.
    """

    mode: str
    layout: str
    norm: str
    limit: float
    quantity: str = 'ratio'
    device: str = 'cpu'
    dtype: str = 'float32'

    @property
    def place(self) -> tuple:
        """Of its cell."""
        batch, size = (8, 224) if self.device == 'cpu' else (64, 320)
        return MOBILENET, self.mode, self.layout, self.dtype, batch, size


# Medians of at least nine interleaved rounds; on a CPU two threads, batch 8 at 224, on CUDA batch
# 64 at 320, where either layout counts.
BARS = (
    Bar('train', 'contiguous', 'DNB', 0.90),
    Bar('train', 'channels_last', 'DNB', 1.00),
    Bar('eval', 'contiguous', 'DNB', 1.05),
    Bar('eval', 'channels_last', 'DNB', 1.05),
    # With the activation folded in DN-B keeps less than BN anyway.
    Bar('train', 'contiguous', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Bar('train', 'channels_last', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Bar('train', 'contiguous', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Bar('train', 'channels_last', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Bar('train', 'contiguous', 'DNB-aten', 1.10),
    Bar('train', 'channels_last', 'DNB-aten', 1.20),
    *(
        Bar(mode, layout, 'DNB', limit, device='cuda', dtype=dtype)
        for mode, dtype, limit in (
            ('train', 'float32', 1.05),
            ('train', 'bfloat16', 1.10),
            ('eval', 'float32', 1.05),
            ('eval', 'bfloat16', 1.05),
        )
        for layout in ('contiguous', 'channels_last')
    ),
)


def judge(results: Results) -> list[tuple[Bar, float | None, str]]:
    """Hold each bar against what was measured.

    Args:
        results (Results): finished cells.

    Returns:
        list[tuple[Bar, float | None, str]]: the measured ratio and 'met' or 'missed'; None and
        'not run: ' with the reason where there is nothing to hold it against.
    """
    return [(bar, *_judge(bar, results)) for bar in BARS]


def bars_table(results: Results) -> list[tuple[str, ...]]:
    """Cells of a table of :func:`judge`, the header first."""
    rows = [('bar', 'measured', 'at most', 'verdict')]
    for bar, value, verdict in judge(results):
        what = 'time' if bar.quantity == 'ratio' else 'saved memory'
        text = (
            f'{bar.device}, {bar.mode}, {bar.layout}, {bar.dtype}: {what}, '
            f'{NORMS[bar.norm].label} / {BASELINE}'
        )
        rows.append((text, '' if value is None else f'{value:.3f}', f'{bar.limit:g}', verdict))
    return rows


def _judge(bar, results):
    environment = results.environment
    if (environment['device'] == 'cpu') != (bar.device == 'cpu'):
        return None, f'not run: not on {bar.device}'
    cell = results.at(*bar.place)
    row = next((row for row in cell['rows'] if row['norm'] == bar.norm), None) if cell else None
    if row is None:
        reason = (cell or {}).get('left_out', {}).get(bar.norm, 'not measured')
        return None, f'not run: {reason}'
    if bar.quantity == 'ratio':
        if row['rounds'] < ROUNDS:
            return None, f'not run: {row["rounds"]} rounds, at least {ROUNDS} are needed'
        if bar.device == 'cpu' and environment['threads'] != THREADS:
            return None, f'not run: {environment["threads"]} threads, {THREADS} are needed'
    value = row[bar.quantity]
    return value, 'met' if value <= bar.limit else 'missed'


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
