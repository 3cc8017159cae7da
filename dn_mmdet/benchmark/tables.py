"""How results are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..utils.text import markdown_table

__all__ = ['environment_text', 'group_cells', 'ratio_text', 'results_table', 'time_text']

Cell = Mapping[str, Any]  # a case, with its rows

HEADER = ('norm', 'path', 'ms (quartiles)', 'time / BN', 'saved MiB', '/ BN', 'peak MiB', '/ BN')


def results_table(
    cells: Sequence[Cell],
    heading: str,
    text: Callable[[Cell], str],
    labels: Mapping[str, str] | None = None,
) -> str:
    """Markdown table of cells, a line for each norm, and notes below it.

    Args:
        cells (Sequence[Cell]): Cases with their ``rows`` and ``left_out``.
        heading (str): Heading of the first column.
        text (Callable[[Cell], str]): Cell to its text in the first column.
        labels (Mapping[str, str], optional): Norm to its name in the table. Defaults to its own.
    """
    labels = labels or {}
    lines = [(heading, *HEADER)]
    for cell in cells:
        for row in cell['rows']:
            lines.append(
                (
                    text(cell),
                    labels.get(row['norm'], row['norm']),
                    row['path'] or '',
                    time_text(row),
                    ratio_text(row),
                    *_memory_texts(row, 'saved'),
                    *_memory_texts(row, 'peak'),
                )
            )
    rounds = sorted({row['rounds'] for cell in cells for row in cell['rows']})
    left_out = {name: reason for cell in cells for name, reason in cell['left_out'].items()}
    notes = [f'Rounds: {", ".join(map(str, rounds))}.']
    notes += [f'Not run: {labels.get(name, name)} ({why}).' for name, why in left_out.items()]
    return f'{markdown_table(lines)}\n\n{" ".join(notes)}'


def group_cells(cells: Iterable[Cell], *keys: str) -> dict[tuple, list[Cell]]:
    """Cells that are alike in these keys, in the order in which they were measured."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[key] for key in keys), []).append(cell)
    return groups


def environment_text(environment: Mapping[str, Any]) -> str:
    """A sentence of what :func:`dn_mmdet.benchmark.describe_environment` found."""
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


def time_text(row: Mapping[str, Any]) -> str:
    """Milliseconds of a row, and their quartiles."""
    median, low, high = (1e3 * row[key] for key in ('seconds', 'seconds_q1', 'seconds_q3'))
    return f'{median:.4g} ({low:.4g} to {high:.4g})'


def ratio_text(row: Mapping[str, Any]) -> str:
    """Ratio of a row to the baseline, and the quartiles over rounds."""
    return f'{row["ratio"]:.3f} ({row["ratio_q1"]:.3f} to {row["ratio_q3"]:.3f})'


def _memory_texts(row: Mapping[str, Any], key: str) -> tuple[str, str]:
    value, ratio = row[key], row[f'{key}_ratio']
    return (
        '' if value is None else f'{value / 2**20:.2f}',
        '' if ratio is None else f'{ratio:.3f}',
    )
