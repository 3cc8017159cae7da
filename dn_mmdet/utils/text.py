"""Tables that read well on a terminal and are Markdown."""

from collections.abc import Iterable

__all__ = ['markdown_lines', 'markdown_table', 'first_few']


def markdown_table(cells):
    """A table as text.

    Args:
        cells (Sequence[Sequence[str]]): rows of texts, the header first, all of one length.

    Returns:
        str: the table, without a line break at its end.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return '\n'.join(markdown_lines(cells, widths))


def markdown_lines(rows, widths):
    """Yield the lines of a table one by one, the header's and the rule below it first.

    Args:
        rows (Iterable[Sequence[str]]): may be computed as they are asked for.
        widths (Sequence[int]): characters of each column.
    """
    for number, row in enumerate(rows):
        texts = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield f'| {" | ".join(texts)} |'
        if number == 0:
            yield f'|{"|".join("-" * (width + 2) for width in widths)}|'


def first_few(names: Iterable[str], limit: int = 3) -> str:
    """The first few of a list, for a message: ``a, b, c and 7 more``."""
    names = [str(name) for name in names]
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
