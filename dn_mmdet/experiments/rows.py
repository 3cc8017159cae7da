"""Finished runs as rows of a CSV file, which outlives their folders."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import write_text

__all__ = ['Row', 'Rows', 'number']

# Column to what stands there, '' where there is nothing.
Row = Mapping[str, str]


class Rows:
    """The rows of a CSV file, and the file.

    Several processes may add to one file: each row that was ever added stays. A row takes the
    place of an earlier one with the same key.

    Args:
        file (str | PathLike): CSV file; need not exist.
        key (Sequence[str]): Columns that tell rows apart.

    Raises:
        UserError: The file is not such a CSV file.
    """

    def __init__(self, file: str | os.PathLike, key: Sequence[str]):
        self.file, self.key = Path(file), tuple(key)
        self.read()

    def read(self) -> list[Row]:
        """All rows, in the order in which they were added, as they are in the file now."""
        if not self.file.is_file():
            return []
        with open(self.file, newline='', encoding='utf-8') as lines:
            try:
                rows = list(csv.DictReader(lines, restkey='', strict=True))
            except (csv.Error, UnicodeDecodeError) as error:
                raise UserError(
                    f'{self.file} cannot be read as a CSV file ({error}): correct it, or give '
                    'another folder with --out.'
                ) from error
        for place, row in enumerate(rows, 2):
            lost = [column for column in self.key if row.get(column) is None]
            if lost or '' in row or None in row.values():
                what = f'has no column {lost[0]!r}' if lost else 'has not as many cells as columns'
                raise UserError(
                    f'{self.file}: row {place} {what}: correct or remove it, or give another '
                    'folder with --out.'
                )
        return rows

    def has(self, identity: Mapping[str, Any]) -> bool:
        """Whether there is a row with these values in the columns of the key."""
        wanted = self._key(identity)
        return any(self._key(row) == wanted for row in self.read())

    def add(self, row: Mapping[str, Any]) -> None:
        """Put a row in, and save.

        Args:
            row (Mapping[str, Any]): Column to value; None and NaN are nothing. New columns are the
                last.
        """
        with self._alone():
            new = {column: _text(value) for column, value in row.items()}
            rows = [old for old in self.read() if self._key(old) != self._key(new)]
            rows.append(new)
            columns = dict.fromkeys(column for row in rows for column in row)
            text = io.StringIO()
            writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
            write_text(self.file, text.getvalue())

    def _key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(_text(row.get(column)) for column in self.key)

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


def number(row: Row, column: str) -> float | None:
    """What stands in a column, None where there is nothing.

    Raises:
        UserError: It is no number.
    """
    text = row.get(column) or ''
    try:
        return float(text) if text else None
    except ValueError:
        raise UserError(
            f'a row of the results has {text!r} for {column}, which is not a number: correct it.'
        ) from None


def _text(value: Any) -> str:
    if value is None or value != value:
        return ''
    return f'{value:.6g}' if isinstance(value, float) else str(value)
