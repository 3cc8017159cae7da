"""Finished runs as rows of a CSV file, which outlives their folders."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import write_text

__all__ = ['Row', 'Rows']

SEED = 'seed'

# Column to what stands there: text, or a number, which is None where there is none.
Row = Mapping[str, Any]


class Rows:
    """The rows of a CSV file, and the file.

    Several processes may add to one file: each row that was ever added stays. A row takes the
    place of earlier ones with the same key.

    Args:
        file (str | PathLike): CSV file; need not exist.
        key (Sequence[str]): Columns that tell rows apart.
        words (Collection[str]): Columns of text. ``seed`` is a whole number, and all others are
            finite numbers or empty.
        needed (Collection[str]): Columns that must be there besides the key. Defaults to none.

    Raises:
        UserError: The file is not such a CSV file.
    """

    def __init__(
        self,
        file: str | os.PathLike,
        key: Sequence[str],
        words: Collection[str],
        needed: Collection[str] = (),
    ):
        self.file, self.key = Path(file), tuple(key)
        self.words, self.needed = frozenset(words), (*key, *needed)
        self.read()

    def read(self) -> list[Row]:
        """All rows, in the order in which they were added, as they are in the file now."""
        if not self.file.is_file():
            return []
        # A table program may have put a byte order mark before the first column.
        with open(self.file, newline='', encoding='utf-8-sig') as lines:
            try:
                reader = csv.DictReader(lines, restkey='', strict=True)
                columns, rows = reader.fieldnames or [], list(reader)
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(
                    f'{self.file} cannot be read as a CSV file ({error}): correct it, or give '
                    'another folder with --out.'
                ) from error
        for column in columns:
            if columns.count(column) > 1:
                raise self._wrong(1, f'has the column {column!r} more than once')
        for column in self.needed:
            if rows and column not in columns:
                raise self._wrong(1, f'has no column {column!r}')
        return [self._parse(place, row) for place, row in enumerate(rows, 2)]

    def has(self, identity: Mapping[str, Any]) -> bool:
        """Whether there is a row with these values in the columns of the key."""
        wanted = self.key_of(identity)
        return any(self.key_of(row) == wanted for row in self.read())

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Put rows in, and save.

        Args:
            *rows (Mapping[str, Any]): Column to value; None and NaN are nothing. New columns are
                the last. Of those with one key all are kept.
        """
        with self._alone():
            keys = {self.key_of(row) for row in rows}
            every = [old for old in self.read() if self.key_of(old) not in keys]
            every += rows
            columns = dict.fromkeys(column for row in every for column in row)
            text = io.StringIO()
            writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
            writer.writeheader()
            for row in every:
                writer.writerow({column: _text(value) for column, value in row.items()})
            write_text(self.file, text.getvalue())

    def key_of(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """What tells a row from others; its values as the file has them."""
        return tuple(_text(row.get(column)) for column in self.key)

    def _parse(self, place: int, row: Mapping[str, str]) -> Row:
        if '' in row or None in row.values():
            raise self._wrong(place, 'has not as many cells as there are columns')
        return {column: self._value(place, column, text) for column, text in row.items()}

    def _value(self, place: int, column: str, text: str) -> Any:
        if column in self.words:
            return text
        whole = column == SEED
        if text == '' and not whole:
            return None
        try:
            number = int(text) if whole or text.isdigit() else float(text)
            if isfinite(number):
                return number
        except ValueError:
            pass
        kind = 'a whole number' if whole else 'a number'
        raise self._wrong(place, f'has {text!r} for {column}, which is not {kind}')

    def _wrong(self, place: int, what: str) -> UserError:
        return UserError(
            f'{self.file}: row {place} {what}: correct or remove it, or give another folder with '
            '--out.'
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and processes from adding to the file at the same time."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ''
    return f'{value:.6g}' if isinstance(value, float) else str(value)
