"""The finished cases, as a JSON file that grows while they are measured."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import write_json
from .cases import PLACE, ModelCase

__all__ = ['ResultFile']

KEYS = {*(field.name for field in fields(ModelCase)), 'rows', 'left_out'}
# What cases were all alike in at first, and files of that time do not say.
LATER = 'width', 'threads', 'compile', 'layer_rounds'
SINCE = {name: getattr(ModelCase(), name) for name in LATER}


class ResultFile:
    """Measurements of one machine and one state of the code.

    Args:
        file (str | Path): JSON file with ``environment`` and ``cells``, which are cases with what
            was measured. One of another machine, process settings or code is renamed, and the
            file starts again.
        environment (Mapping): What :func:`dn_mmdet.benchmark.describe_environment` returns.

    Attributes:
        cells (list[dict]): What :func:`measure_case` returned, in the order of measurement.
        set_aside (Path | None): Where a file of another environment is now.

    Raises:
        UserError: The file holds something else.
    """

    def __init__(self, file: str | Path, environment: Mapping[str, object]) -> None:
        self.file = Path(file)
        self.environment = _as_read(environment)
        self.cells: list[dict] = []
        self.set_aside: Path | None = None
        if not self.file.is_file():
            return
        try:
            found = json.loads(self.file.read_text(encoding='utf-8'))
            same, cells = found['environment'] == self.environment, found['cells']
            cells = [{**SINCE, **cell} for cell in cells]
            self.cells = [cell for cell in cells if {*cell} >= KEYS]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f'{self.file} is not a result of this benchmark: move it, or give another '
                'folder with --out.'
            ) from error
        if not same:
            self.cells = []
            self.set_aside = self.file.with_suffix(f'.{time.strftime("%Y%m%d_%H%M%S")}.json')
            self.file.rename(self.set_aside)

    def find(self, case: ModelCase) -> dict | None:
        """The measurement of a case, made with the same norms, rounds and step."""
        wanted = _as_read(asdict(case)).items()
        return next((cell for cell in self.cells if wanted <= cell.items()), None)

    def at(self, *place: object) -> dict | None:
        """The measurement at a ``ModelCase.place``, however it was made."""
        return next((cell for cell in self.cells if _place(cell) == place), None)

    def add(self, cell: Mapping[str, object]) -> None:
        """Put a measurement in, in place of an older one of the same place, and save."""
        cell = _as_read(cell)
        self.cells = [old for old in self.cells if _place(old) != _place(cell)] + [cell]
        write_json(self.file, dict(environment=self.environment, cells=self.cells))


def _as_read(data: Mapping[str, object]) -> dict:
    """The same as it comes out of a file: with lists for tuples."""
    return json.loads(json.dumps(data))


def _place(cell: Mapping[str, object]) -> tuple:
    return tuple(cell[name] for name in PLACE)
