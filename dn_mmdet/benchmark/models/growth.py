"""The report of how DN-B's cost grows with one thing at a time: tables and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...figures.style import STYLES, new_figure, plain_axes, save_figure
from ...utils.files import write_text
from ...utils.python39 import zip_strict
from ...utils.text import markdown_table
from ..case import MODES
from ..tables import environment_text, ratio_text, time_text
from .cases import AXES, BASELINE, Point
from .report import TITLES
from .results import ResultFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['growth_text', 'plot_growth', 'write_growth']

Row = Mapping[str, Any]

LEGEND = (
    'One thing at a time is changed, from MobileNetV2 of width 1.0 with batch 8 at 224 pixels, two '
    'threads, NCHW, float32, r=16 and g=oup, whose line is in every table. BN is followed by '
    'ReLU6, DN-B has it folded in. A training step is forward, loss and backward. Times are in '
    'milliseconds, medians over {rounds} rounds in which the norms take turns in one process; '
    '`DN-B / BN` is a ratio of medians, in brackets the quartiles over the ratios of single rounds.'
)
SHARES = (
    '*Share* is the part of the step that the norm layers take together, with the ReLU6 behind '
    'them, timed inside of the model in {rounds} rounds of their own (medians). *MiB* is what a '
    'norm must move at the least: in a training step 8 numbers, 32 bytes, for each of its input, '
    'and its weights three times; in evaluation 2 numbers for BN and 3 for DN-B, which pools '
    'first, and its weights once. That BN and ReLU6 are two layers, which move more, is not in '
    'it. *GB/s* is the one by the other; *copy* is that of a copy of 128 MiB, which took its '
    'turns with the models, to memory that was there already: the output of a layer is new '
    'memory, which the system clears first.'
)
MAPS = (
    'The same by size of the map. Where GB/s stays as the batch grows, memory is what a layer '
    'waits for (or a cache, where it is more than the copy); where µs a layer stays, it is the '
    'overhead.'
)

NORMS = ('BN', 'DN-B')
NUMBERS = ('BN, ms', 'DN-B, ms', 'DN-B / BN')
SHARE = ('share', 'MiB', 'ms', 'GB/s')
MAP = ('MiB', 'ms', 'GB/s', 'µs a layer')


def write_growth(results: ResultFile, out: Path) -> tuple[str, list[str], bool]:
    """Write ``growth.md`` and, where there is something to draw, ``growth.png`` into a folder.

    Args:
        results (ResultFile): Finished cases.
        out (Path): The folder.

    Returns:
        tuple[str, list[str], bool]: What was written, the names of the files, and True: there
        are no limits that could be missed.
    """
    text = growth_text(results)
    write_text(out / 'growth.md', text)
    drawn = plot_growth(results, out / 'growth.png')
    return text, ['growth.md', *['growth.png'] * drawn], True


def growth_text(results: ResultFile) -> str:
    """The tables, as Markdown.

    Args:
        results (ResultFile): Finished cases; what is missing of ``AXES`` is left out.
    """
    rounds = sorted({row['rounds'] for cell in results.cells for row in cell['rows']})
    parts = [
        "# How DN-B's cost grows",
        environment_text(results.environment),
        LEGEND.format(rounds=' or '.join(map(str, rounds))),
    ]
    for axis in AXES:
        parts += [f'## By {axis}', markdown_table(_times(results, axis))]
    shares = {mode: _shares(results, mode) for mode in MODES}
    if any(len(rows) > 1 for rows in shares.values()):
        asked = sorted({cell['layer_rounds'] for cell in results.cells})
        parts += [
            "## The norm layers' own share of the step",
            SHARES.format(rounds=' or '.join(map(str, asked))),
        ]
        for mode, rows in shares.items():
            parts += [f'### {TITLES[mode].capitalize()}', markdown_table(rows)]
        parts += ['## Norm layers by the size of their maps', MAPS]
        for mode in MODES:
            rows = _maps(results, mode)
            parts += [f'### {TITLES[mode].capitalize()}, by map', markdown_table(rows)]
    return '\n\n'.join(parts) + '\n'


def plot_growth(results: ResultFile, file: str | Path) -> bool:
    """Draw the ratios of the times: a panel for each axis, with a line for each mode.

    Args:
        results (ResultFile): Finished cases.
        file (str | Path): The picture, .png, .svg or .pdf.

    Returns:
        bool: Whether there was something to draw.
    """
    lines = {axis: {mode: _ratios(results, axis, mode) for mode in MODES} for axis in AXES}
    lines = {axis: found for axis, found in lines.items() if max(map(len, found.values())) > 1}
    if not lines:
        return False
    columns = min(len(lines), 3)
    figure = new_figure(3.2 * columns, 0.4 + 2.5 * -(-len(lines) // columns))
    panels = figure.subplots(-(-len(lines) // columns), columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(lines) :]:
        axes.set_visible(False)
    for axes, (axis, found) in zip(panels.flat, lines.items()):
        _draw(axes, [point.text for point in AXES[axis]], found)
        axes.set_title(axis, fontsize=11)
        plain_axes(axes)
    for row in panels:
        row[0].set_ylabel('time, DN-B / BN')
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', frameon=False, ncols=3)
    save_figure(figure, file)
    return True


def _draw(axes: Axes, texts: list[str], lines: Mapping[str, Mapping[str, Row]]) -> None:
    axes.axhline(1.0, color='#444444', linewidth=1.0, label='BN')
    for (mode, found), (color, marker, line) in zip(lines.items(), STYLES):
        places = [number for number, text in enumerate(texts) if text in found]
        rows = [found[texts[place]] for place in places]
        low, median, high = (
            [row[key] for row in rows] for key in ('ratio_q1', 'ratio', 'ratio_q3')
        )
        axes.fill_between(places, low, high, color=color, alpha=0.18, linewidth=0)
        axes.plot(
            places, median, color=color, marker=marker, linestyle=line, markersize=4,
            label=f'DN-B, {TITLES[mode]}',
        )  # fmt: skip
    # Steps of a factor of about two: evenly apart they can all be read.
    axes.set_xticks(range(len(texts)), [text.replace(', ', '\n') for text in texts], fontsize=8)
    axes.margins(x=0.08)


def _times(results: ResultFile, axis: str) -> list[tuple[str, ...]]:
    lines = [(axis, *(f'{TITLES[mode]}: {what}' for mode in MODES for what in NUMBERS))]
    for point in AXES[axis]:
        texts: list[str] = []
        for mode in MODES:
            pair = _pair(results, point, mode)
            texts += [*map(time_text, pair), ratio_text(pair[1])] if pair else ['', '', '']
        if any(texts):
            lines.append((point.text, *texts))
    return lines


def _shares(results: ResultFile, mode: str) -> list[tuple[str, ...]]:
    lines = [
        ('what is changed', *(f'{norm}: {what}' for norm in NORMS for what in SHARE), 'copy, GB/s')
    ]
    for axis, point in ((axis, point) for axis, points in AXES.items() for point in points):
        layers = _layers(results, point, mode)
        if layers:
            texts = [
                text
                for norm in (BASELINE, point.norm)
                for text in (
                    f'{layers["norms"][norm]["share"]:.1%}',
                    *_moved(layers['norms'][norm]),
                )
            ]
            lines.append((f'{axis} {point.text}', *texts, f'{layers["copy"] / 1e9:.1f}'))
    return lines


def _maps(results: ResultFile, mode: str) -> list[tuple[str, ...]]:
    lines = [('batch, map', 'layers', *(f'{norm}: {what}' for norm in NORMS for what in MAP))]
    points = AXES['batch size']
    for point in dict.fromkeys([points[0], points[len(points) // 2], points[-1]]):
        layers = _layers(results, point, mode)
        pairs = [layers['norms'][norm]['maps'] for norm in (BASELINE, point.norm)] if layers else []
        for pair in zip_strict(*pairs):
            texts = [text for each in pair for text in (*_moved(each), _each(each))]
            lines.append((f'{point.text}, {pair[0]["map"]}', str(pair[0]['layers']), *texts))
    return lines


def _moved(found: Row) -> tuple[str, str, str]:
    mebibytes, seconds = found['bytes'] / 2**20, found['seconds']
    return f'{mebibytes:.4g}', f'{1e3 * seconds:.4g}', f'{found["bytes"] / seconds / 1e9:.1f}'


def _each(found: Row) -> str:
    return f'{1e6 * found["seconds"] / found["layers"]:.0f}'


def _ratios(results: ResultFile, axis: str, mode: str) -> dict[str, Row]:
    pairs = {point.text: _pair(results, point, mode) for point in AXES[axis]}
    return {text: pair[1] for text, pair in pairs.items() if pair}


def _pair(results: ResultFile, point: Point, mode: str) -> tuple[Row, Row] | None:
    """What was measured of BN and of the norm at a point."""
    cell = results.at(*point.in_mode(mode).place) or dict(rows=())
    rows = {row['norm']: row for row in cell['rows']}
    return (rows[BASELINE], rows[point.norm]) if point.norm in rows else None


def _layers(results: ResultFile, point: Point, mode: str) -> dict | None:
    cell = results.at(*point.in_mode(mode).place) or {}
    layers = cell.get('layers')
    return layers if layers and point.norm in layers['norms'] else None
