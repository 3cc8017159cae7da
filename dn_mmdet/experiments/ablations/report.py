"""The ablations' tables, in the shape of the paper's, and the verdict on its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from mmengine.registry import MODELS

from ...analysis import count_complexity
from ...compare.statistics import compare, summarize
from ...figures.style import line_style, new_figure, plain_axes, save_figure
from ...utils.files import write_text
from ...utils.python39 import zip_strict
from ...utils.text import markdown_table
from .cells import BASE_BATCH, BASE_LR, CONFIG, TEST_BATCHES, AblationCell, Tables
from .claims import paper_claims
from .results import AblationResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['plot_robustness', 'write_ablation_report']

TITLES = {
    'module': ('Module (Tables 1 and 2)', ()),
    'r': ('Reduction ratio r (Table 6)', ()),
    'g': ('Group size g (Table 7)', ()),
    'learning rate': ('Learning rate (Table 8)', ('lr',)),
    'batch size': ('Batch size (Table 4, upper half)', ('batch_size', 'iterations')),
    'test batch size': ('Test batch size (Table 4, lower half)', ('test_batch_size',)),
    'variant': (
        'Variants of the SC-Module, at a high learning rate and at a small batch',
        ('lr', 'batch_size'),
    ),
}


def write_ablation_report(results: AblationResults, tables: Tables, out: str | Path) -> str:
    """Write ``ablations.md`` and ``ablations.png``.

    Args:
        results (AblationResults): Finished cells.
        tables (Tables): What :func:`.cells.plan` returns.
        out (str | Path): Folder.

    Returns:
        str: The Markdown.
    """
    tables, left_out = _finished(results, tables)
    seeds = sorted({cell.seed for cells in tables.values() for cell in cells})
    sizes = _sizes(tables)
    parts = [
        '# Ablations on the embedded digits\n',
        'MobileNetV2 x0.25 with one block per stage (22 norms) on single-digit crops of 40x40 '
        f'pixels, SGD with momentum, cosine; lr {BASE_LR:g} and batch {BASE_BATCH} unless '
        'stated otherwise. Top-1 in percent, mean ± standard deviation over as many seeds as is '
        f'said, of {", ".join(map(str, seeds))}. Train: the last 50 iterations; val: '
        '1,000 crops of held-out digits and photographs, after the last iteration. The last column '
        'is the difference to BN at the same learning rate and batch size, paired by seed, from '
        'five seeds on with its 95% interval over seeds; a difference within its spread is not '
        'counted as one.'
        + (f' Without a finished cell, and left out: {left_out} settings.' if left_out else '')
        + '\n',
    ]
    for name, cells in tables.items():
        if not cells:
            continue
        title, columns = TITLES[name]
        parts.append(f'## {title}\n\n{_table(name, cells, columns, results, sizes)}\n')
    parts.append('## What the paper claims, and what was measured here\n')
    parts.append('\n'.join(f'- {line}' for line in paper_claims(results, tables)) + '\n')
    parts.append('![accuracy against learning rate and batch size](ablations.png)\n')
    text = '\n'.join(parts)
    write_text(Path(out) / 'ablations.md', text)
    plot_robustness(results, tables, Path(out) / 'ablations.png')
    return text


def _finished(results: AblationResults, tables: Tables) -> tuple[Tables, int]:
    """The tables with the settings that have a finished cell, and how many have none."""
    trained = {cell.setting for cells in tables.values() for cell in cells if results.of(cell)}
    left_out = {cell.setting for cells in tables.values() for cell in cells} - trained
    return {
        name: [cell for cell in cells if cell.setting in trained] for name, cells in tables.items()
    }, len(left_out)


def _table(
    name: str,
    cells: Sequence[AblationCell],
    columns: Sequence[str],
    results: AblationResults,
    sizes: Mapping[tuple, tuple[str, str]],
) -> str:
    header = [
        'Module',
        'r',
        'g',
        *(c.replace('_', ' ') for c in columns),
        '#p',
        'Mult-Adds',
        'Seeds',
        'Train',
        'Val',
        'Val - BN',
    ]
    lines = [header]
    # Each setting once; a row of the test batch sizes is a setting at one of them.
    for setting in dict.fromkeys(cell.setting for cell in cells):
        group = [cell for cell in cells if cell.setting == setting]
        for test_batch in TEST_BATCHES if name == 'test batch size' else (None,):
            lines.append(_row(group, columns, test_batch, results, sizes))
    return markdown_table(lines)


def _row(
    group: Sequence[AblationCell],
    columns: Sequence[str],
    test_batch: int | None,
    results: AblationResults,
    sizes: Mapping[tuple, tuple[str, str]],
) -> list[str]:
    cell = group[0]
    rows = results.of_all(group, test_batch)
    values = dict(
        lr=f'{cell.lr:g}',
        batch_size=str(cell.batch_size),
        iterations=str(cell.iterations),
        test_batch_size=str(test_batch),
    )
    baseline = [c.baseline for c in group]
    difference = (
        ''
        if cell.norm == 'BN'
        else str(
            compare(summarize(results.of_all(baseline, test_batch), 'val'), summarize(rows, 'val'))
        )
    )
    return [
        cell.module,
        _text(cell.r),
        _text(cell.g),
        *(values[c] for c in columns),
        *sizes[_size_key(cell)],
        str(len(rows)),
        str(summarize(rows, 'train')),
        str(summarize(rows, 'val')),
        difference,
    ]


def _sizes(tables: Tables) -> dict[tuple, tuple[str, str]]:
    """Parameters and multiply-adds of each norm in the ablations' network, from the modules."""
    sizes = {}
    for cell in dict.fromkeys(cell for cells in tables.values() for cell in cells):
        if _size_key(cell) in sizes:
            continue
        config = Config.fromfile(CONFIG)
        config.merge_from_dict(cell.options)
        size = config.test_pipeline[1].scale
        count = count_complexity(MODELS.build(config.model), tuple(reversed(size)))
        sizes[_size_key(cell)] = (f'{count.params / 1e6:.3f}M', f'{count.mult_adds / 1e6:.2f}M')
    return sizes


def _size_key(cell: AblationCell) -> tuple:
    return cell.norm, cell.r, cell.g, cell.fuse, cell.variant


def _text(value: object) -> str:
    return '' if value is None else str(value)


def plot_robustness(results: AblationResults, tables: Tables, file: str | Path) -> None:
    """Draw one panel for the learning rates and one for the batch sizes.

    Args:
        results (AblationResults): Finished cells; a run that diverged counts as 0.
        tables (Tables): What :func:`.cells.plan` returns.
        file (str | Path): The picture, .png, .svg or .pdf.
    """
    # A form that one panel lacks looks in the other as in the legend.
    labels = dict.fromkeys(
        cell.label for cell in (*tables['batch size'], *tables['learning rate']) if results.of(cell)
    )
    looks = {label: line_style(number) for number, label in enumerate(labels)}
    figure = new_figure(8.4, 3.3 + 0.11 * len(labels))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 2))
    for axes, table, key, name in (
        (left, 'learning rate', 'lr', 'learning rate'),
        (right, 'batch size', 'batch_size', 'batch size'),
    ):
        _draw(axes, results, tables[table], key, looks)
        axes.set_xlabel(name)
        plain_axes(axes)
    left.set_ylabel('top-1 on held-out digits, percent')
    left.set_ylim(0, 100)
    # Variants make many lines, and a legend within the axes would hide them.
    handles = {
        label: handle
        for axes in (right, left)
        for handle, label in zip_strict(*axes.get_legend_handles_labels())
    }
    figure.legend(
        [*handles.values()], [*handles], frameon=False, loc='outside lower center', ncols=2
    )
    save_figure(figure, file)


def _draw(
    axes: Axes,
    results: AblationResults,
    cells: Sequence[AblationCell],
    key: str,
    looks: Mapping[str, tuple[str, str, str]],
) -> None:
    lines = {}
    for cell in cells:
        lines.setdefault(cell.label, {}).setdefault(getattr(cell, key), []).append(cell)
    places = sorted({getattr(cell, key) for cell in cells})
    for label, points in lines.items():
        drawn = []
        for value, group in points.items():
            found = summarize(results.of_all(group), 'val')
            values = [*found.values.values(), *(0.0 for _ in found.diverged)]
            if values:
                drawn.append(
                    (places.index(value), min(values), sum(values) / len(values), max(values))
                )
        if not drawn:
            continue
        color, marker, line = looks[label]
        x, low, mean, high = zip_strict(*sorted(drawn))
        axes.plot(x, mean, label=label, color=color, marker=marker, linestyle=line)
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.margins(x=0.08)
    axes.set_xticks(range(len(places)), [f'{place:g}' for place in places])
