"""The finished cells, as a JSON file that grows while the cells are measured."""

import json
import time
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import write_json
from .cells import Cell

__all__ = ['Results']

CELL_KEYS = tuple(Cell.__dataclass_fields__)


class Results:
    """Measurements of one machine and one state of the code.

    Args:
        file (str | Path): JSON file with ``environment`` and ``cells``. One of another machine,
            process settings or code is renamed, and the file begins anew.
        environment (dict): what :func:`dn_mmdet.ops.benchmark.describe_environment` returns.

    Attributes:
        cells (list[dict]): what :func:`measure_cell` returned, in the order of measurement.
        set_aside (Path | None): where a file of another environment is now.

    Raises:
        UserError: the file is none of this class.
    """

    def __init__(self, file: str | Path, environment: dict):
        self.file = Path(file)
        self.environment = json.loads(json.dumps(environment))
        self.cells: list[dict] = []
        self.set_aside: Path | None = None
        if not self.file.is_file():
            return
        try:
            found = json.loads(self.file.read_text(encoding='utf-8'))
            same, cells = found['environment'] == self.environment, found['cells']
            self.cells = [cell for cell in cells if {*CELL_KEYS, 'rows', 'left_out'} <= {*cell}]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{self.file} is no result of this benchmark: move it, or name another '
                'folder with --out.'
            ) from error
        if not same:
            self.cells = []
            self.set_aside = self.file.with_suffix(f'.{time.strftime("%Y%m%d_%H%M%S")}.json')
            self.file.rename(self.set_aside)

    def find(self, cell: Cell) -> dict | None:
        """The measurement of a cell, made with the same norms, rounds and step."""
        return next(
            (
                found
                for found in self.cells
                if all(_plain(getattr(cell, key)) == found[key] for key in CELL_KEYS)
            ),
            None,
        )

    def at(self, *place) -> dict | None:
        """The measurement at a ``Cell.place``, however it was made."""
        return next((found for found in self.cells if _place(found) == place), None)

    def add(self, measured: dict) -> None:
        """Put a measurement in, in place of an older one of the same place, and save."""
        measured = json.loads(json.dumps(measured))
        self.cells = [cell for cell in self.cells if _place(cell) != _place(measured)]
        self.cells.append(measured)
        write_json(self.file, dict(environment=self.environment, cells=self.cells))


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _place(cell):
    return tuple(cell[key] for key in CELL_KEYS[:6])
