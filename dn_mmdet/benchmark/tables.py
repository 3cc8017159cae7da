"""How results are written in a table."""

from collections.abc import Mapping, Sequence

from ..utils.text import markdown_table

__all__ = ['memory_text', 'ratio_text', 'results_table', 'time_text']

HEADER = ('norm', 'path', 'ms (quartiles)', 'time / BN', 'saved MiB', '/ BN', 'peak MiB', '/ BN')


def results_table(rows: Sequence[tuple[str, Mapping]], first: str) -> str:
    """Markdown table of norms.

    Args:
        rows (Sequence[tuple[str, Mapping]]): Text of the first column, and a result with the keys
            of :func:`dn_mmdet.benchmark.layer.benchmark_layer`.
        first (str): Heading of the first column.
    """
    return markdown_table(
        [(first, *HEADER)]
        + [
            (
                text,
                row['norm'],
                row['path'] or '',
                time_text(row),
                ratio_text(row),
                *memory_text(row, 'saved'),
                *memory_text(row, 'peak'),
            )
            for text, row in rows
        ]
    )


def time_text(row: Mapping) -> str:
    """Milliseconds with quartiles."""
    texts = [f'{1e3 * row[key]:.4g}' for key in ('seconds', 'seconds_q1', 'seconds_q3')]
    return '{} ({} to {})'.format(*texts)


def ratio_text(row: Mapping) -> str:
    """Ratio of medians, with the quartiles of the ratios of single rounds."""
    return f'{row["ratio"]:.3f} ({row["ratio_q1"]:.3f} to {row["ratio_q3"]:.3f})'


def memory_text(row: Mapping, key: str) -> tuple[str, str]:
    """Mebibytes, and the ratio to BN."""
    value, ratio = row[key], row[f'{key}_ratio']
    return (
        '' if value is None else f'{value / 2**20:.2f}',
        '' if ratio is None else f'{ratio:.3f}',
    )
