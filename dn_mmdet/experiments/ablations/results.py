"""The finished cells, as a CSV file that grows while the cells are trained."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..rows import Row, Rows
from .cells import AblationCell

__all__ = ['AblationResults']

CELL = ('norm', 'r', 'g', 'fuse', 'variant', 'lr', 'batch_size', 'iterations', 'seed')
# A group size may be 'oup'.
WORDS = ('norm', 'g', 'fuse', 'variant', 'recipe')
MEASURED = ('test_batch_size', 'train', 'val', 'diverged_at')


class AblationResults:
    """Rows of finished cells, one for each test batch size of a training.

    Args:
        file (str | Path): CSV file. Rows of another recipe stay there and count for nothing.
        recipe (str): What, besides the cell, decides a result; any text.

    Attributes:
        rows (list[Row]): Those of this recipe.
        foreign (int): How many are of another.

    Raises:
        UserError: The file is not such a CSV file.
    """

    def __init__(self, file: str | Path, recipe: str):
        self.recipe = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        self._rows = Rows(file, (*CELL, 'recipe'), WORDS, MEASURED)
        self.file = self._rows.file
        self._read()

    def has(self, cell: AblationCell, test_batches: Collection[int] = ()) -> bool:
        """Whether a cell is finished at its own and at these test batch sizes."""
        found = self.of(cell)
        if any(row['diverged_at'] is not None for row in found):
            return True
        return bool(found) and set(test_batches) <= {row['test_batch_size'] for row in found}

    def of(self, cell: AblationCell) -> list[Row]:
        """The rows of a cell; the first is that of its validation."""
        return self._of_cell.get(self._rows.key_of(self._identity(cell)), [])

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
        identity = self._identity(cell)
        self._rows.add(*({**identity, **row} for row in rows))
        self._read()

    def _identity(self, cell: AblationCell) -> dict[str, Any]:
        return {**{key: getattr(cell, key) for key in CELL}, 'recipe': self.recipe}

    def _read(self) -> None:
        every = self._rows.read()
        self.rows = [row for row in every if row['recipe'] == self.recipe]
        self.foreign = len(every) - len(self.rows)
        self._of_cell: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            self._of_cell[self._rows.key_of(row)].append(row)
