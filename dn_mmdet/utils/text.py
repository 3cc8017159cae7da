"""Texts that people read: Markdown tables, lists that are too long to print, help of tools."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

from .python39 import zip_strict

__all__ = [
    'HelpFormatter',
    'error_line',
    'error_text',
    'first_few',
    'markdown_lines',
    'markdown_table',
    'whole_number',
]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help of a tool: the description as it is written, and the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False
        return action.help if none else super()._get_help_string(action)


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """A type of argparse, which makes another value a usage error.

    Args:
        least (int): The number must be at least this one, which is 0 or more.
        most (int, optional): And at most this one. Defaults to None.

    Returns:
        Callable[[str], int]: Reads a text.
    """
    wanted = f'{least} or more' if most is None else f'{least} to {most}'

    def read(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number, {wanted}')
        return number

    return read


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """A table that is Markdown and reads well on a terminal.

    Args:
        cells (Sequence[Sequence[str]]): Rows of texts, the header first, all of one length.

    Returns:
        str: The table, without a line break at its end.
    """
    widths = [max(map(len, column)) for column in zip_strict(*cells)]
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
        texts = (text.ljust(width) for text, width in zip_strict(row, widths))
        yield f'| {" | ".join(texts)} |'
        if number == 0:
            yield f'|{"|".join("-" * (width + 2) for width in widths)}|'


def first_few(names: Iterable[object], limit: int = 3) -> str:
    """The first few of a list, for a message: ``a, b, c and 7 more``.

    Args:
        names (Iterable[object]): Whatever ``str`` makes a name of; one with line breaks or other
            characters that cannot be seen is shown by its repr.
        limit (int): How many are named. Defaults to 3.

    Returns:
        str: The names, separated by commas.
    """
    names = [text if text.isprintable() else repr(text) for text in map(str, names)]
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more


def error_line(error: BaseException, limit: int | None = 200) -> str:
    """An exception in a line, for a message: ``ValueError: what it says``.

    Args:
        error (BaseException): Its text may have several lines.
        limit (int, optional): Characters of the text that are kept; None keeps all. Defaults to
            200.

    Returns:
        str: Class and text, or the class alone where there is no text.
    """
    text = error_text(error, limit)
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def error_text(error: BaseException, limit: int | None = None) -> str:
    """What an exception says, in a line.

    Args:
        error (BaseException): Its text may have several lines.
        limit (int, optional): Characters that are kept; None keeps all. Defaults to None.

    Returns:
        str: The text, perhaps empty.
    """
    # str() of a KeyError is the repr of its text.
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = ' '.join(str(text).split())
    return text if limit is None or len(text) <= limit else f'{text[:limit]} ...'
