"""The finished cells, as a CSV file that grows while the cells are trained."""

from __future__ import annotations

import csv
import hashlib
import io
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...utils.files import write_text
from .cells import AblationCell

__all__ = ['AblationResults']

Row = dict[str, Any]

NUMBERS = {
    'r': int,
    'lr': float,
    'batch_size': int,
    'seed': int,
    'test_batch_size': int,
    'iterations': int,
    'train': float,
    'val': float,
    'diverged_at': int,
    'seconds': float,
}
FIELDS = (
    'norm',
    'r',
    'g',
    'fuse',
    'variant',
    'lr',
    'batch_size',
    'iterations',
    'seed',
    'test_batch_size',
    'train',
    'val',
    'diverged_at',
    'seconds',
    'recipe',
)
KEY = FIELDS[:9]


class AblationResults:
    """Rows of finished cells, one for each test batch size of a training.

    Args:
        file (str | Path): CSV file. Rows of another recipe move to a file next to it.
        recipe (str): What, besides the cell, decides a result; any text.

    Attributes:
        rows (list[dict[str, Any]]): Those of this recipe; columns as in ``FIELDS``, None where a
            cell has no such thing.
        set_aside (Path | None): Where rows of another recipe are now.
    """

    def __init__(self, file: str | Path, recipe: str):
        self.file = Path(file)
        self.recipe = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        rows = _read(self.file) if self.file.is_file() else []
        self.rows = [row for row in rows if row['recipe'] == self.recipe]
        others = [row for row in rows if row['recipe'] != self.recipe]
        self.set_aside: Path | None = None
        self._lock = threading.Lock()
        if others:
            self.set_aside = self.file.with_suffix(f'.{time.strftime("%Y%m%d_%H%M%S")}.csv')
            _write(self.set_aside, others)
            _write(self.file, self.rows)

    def has(self, cell: AblationCell, test_batches: Collection[int] = ()) -> bool:
        """Whether a cell is finished at its own and at these test batch sizes."""
        found = self.of(cell)
        if any(row['diverged_at'] is not None for row in found):
            return True
        return bool(found) and set(test_batches) <= {row['test_batch_size'] for row in found}

    def of(self, cell: AblationCell) -> list[Row]:
        """The rows of a cell; the first is that of its validation."""
        return [row for row in self.rows if all(row[key] == getattr(cell, key) for key in KEY)]

    def of_all(self, cells: Iterable[AblationCell], test_batch: int | None = None) -> list[Row]:
        """The row of each finished cell: of its validation, or at a test batch size."""
        rows = []
        for cell in cells:
            rows += [
                row
                for row in self.of(cell)
                if row['diverged_at'] is not None or test_batch in (None, row['test_batch_size'])
            ][:1]
        return rows

    def add(self, cell: AblationCell, rows: Iterable[Mapping[str, Any]]) -> None:
        """Put the rows of a newly trained cell in, in place of older ones, and save."""
        identity = {key: getattr(cell, key) for key in KEY}
        with self._lock:  # cells end in threads of their own
            old = self.of(cell)
            self.rows = [row for row in self.rows if row not in old]
            self.rows += [{**identity, **row, 'recipe': self.recipe} for row in rows]
            _write(self.file, self.rows)


def _write(file: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _round(value) for key, value in row.items()})
    write_text(file, text.getvalue())


def _round(value: Any) -> Any:
    return f'{value:.6g}' if isinstance(value, float) else value


def _read(file: Path) -> list[Row]:
    with open(file, newline='', encoding='utf-8') as lines:
        return [
            {key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(lines)
        ]


def _value(key: str, text: str) -> Any:
    if text == '':
        return None
    if key == 'g':
        return text if text == 'oup' else int(text)
    return NUMBERS.get(key, str)(text)
