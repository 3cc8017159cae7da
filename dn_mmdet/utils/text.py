"""Texts that people read: Markdown tables, and lists that are too long to print."""

from collections.abc import Iterable, Iterator, Sequence

__all__ = ['first_few', 'markdown_lines', 'markdown_table']


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """A table that is Markdown and reads well on a terminal.

    Args:
        cells (Sequence[Sequence[str]]): Rows of texts, the header first, all of one length.

    Returns:
        str: The table, without a line break at its end.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return '\n'.join(markdown_lines(cells, widths))


def markdown_lines(rows: Iterable[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a table one by one, the header and the rule below it first.

    Args:
        rows (Iterable[Sequence[str]]): May be computed as they are asked for.
        widths (Sequence[int]): Characters of each column.

    Yields:
        str: A line.
    """
    for number, row in enumerate(rows):
        texts = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield f'| {" | ".join(texts)} |'
        if number == 0:
            yield f'|{"|".join("-" * (width + 2) for width in widths)}|'


def first_few(names: Iterable[object], limit: int = 3) -> str:
    """The first few of a list, for a message: ``a, b, c and 7 more``.

    Args:
        names (Iterable[object]): Whatever ``str`` makes a name of.
        limit (int): How many are named. Defaults to 3.

    Returns:
        str: The names, separated by commas.
    """
    names = [str(name) for name in names]
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
