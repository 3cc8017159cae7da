"""Predictions of finished runs, made by tools/test.py where they are missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from mmengine.config import Config

from ..engine.config import choose_resume
from ..utils.errors import UserError
from ..utils.files import write_text
from .launch import ToolJob
from .predictions import PREDICTIONS
from .run import Run
from .schedule import Report, run_all

__all__ = ['Testing', 'make_predictions']

# mmengine's log line: "Epoch(test) [ 50/125]    eta: ...".
ITERATION = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]')


def make_predictions(runs: Sequence[Run]) -> list[str]:
    """Test the last checkpoint of each run on its val data, where that is not done yet.

    The predictions go to ``predictions.pkl`` in the work folder, logs to ``test/`` there. A file
    that is newer than the checkpoint is kept, so the same command continues after an interrupt.

    Args:
        runs (Sequence[Run]): Finished ones.

    Returns:
        list[str]: A sentence for each run that could not be tested.

    Raises:
        KeyboardInterrupt: With how to continue.
    """
    jobs, failed = [], []
    for run in runs:
        try:
            jobs.append(_ValTesting.of(run))
        except UserError as error:
            failed.append(f'{run.work_dir} cannot be tested: {error}')
    try:
        return [*failed, *run_all(jobs, workers=1).values()]
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command continues with the runs not yet tested') from None


class Testing(ToolJob):
    """A run of ``tools/test.py``.

    Args:
        name (str): What is tested, for people.
        config (Path): Configuration file.
        checkpoint (Path): Checkpoint file.
        work_dir (Path): Folder of its logs.
        out (Path): File of the predictions.
        **job: ``after`` and ``cost`` of :class:`Job`.
    """

    def __init__(
        self, name: str, config: Path, checkpoint: Path, work_dir: Path, out: Path, **job: Any
    ):
        super().__init__(name, **job)
        self.config, self.checkpoint, self.work_dir, self.out = config, checkpoint, work_dir, out

    @property
    def output(self) -> Path:
        """The predictions."""
        return self.out

    @property
    def metrics(self) -> Mapping[str, float]:
        """What the newest test measured, by mmengine's names."""
        return json.loads(max(self.work_dir.glob('*/[0-9]*.json')).read_text())

    def run(self, report: Report, threads: int | None = None) -> str | None:
        """Test the checkpoint; see :meth:`Job.run`."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        log = self.work_dir / 'test.log'
        log.unlink(missing_ok=True)
        arguments = [self.config, self.checkpoint, '--work-dir', self.work_dir, '--out', self.out]
        status, last = self._run_tool(
            'test.py', arguments, log, partial(_monitor, report=report), threads
        )
        if status or not self.out.is_file():
            raise UserError(
                f'{self.checkpoint.parent} could not be tested (status {status}, full log: {log}): '
                f'{last[:500]}'
            )
        return None


class _ValTesting(Testing):
    """The test of a run's last checkpoint on its val data."""

    trained: Run

    @classmethod
    def of(cls, run: Run) -> _ValTesting:
        """Raise a UserError where the run has no last checkpoint."""
        folder = Path(run.work_dir)
        config = Config(dict(work_dir=run.work_dir))
        choose_resume(config, 'auto')
        if not config.load_from:
            raise UserError(f'{run.work_dir} has no last_checkpoint.')
        testing = cls(
            f'test {run.work_dir}',
            folder / 'test' / 'config.py',
            Path(config.load_from),
            folder / 'test',
            folder / PREDICTIONS,
        )
        testing.trained = run
        return testing

    @property
    def done(self) -> bool:
        """Whether the predictions are newer than the checkpoint."""
        return self.out.is_file() and self.out.stat().st_mtime >= self.checkpoint.stat().st_mtime

    def run(self, report: Report, threads: int | None = None) -> None:
        """Write the run's configuration with val as what is tested, and test."""
        # What is tested is what the run was evaluated on in training: its log's last line is of it.
        config = self.trained.buildable()
        config.test_dataloader = config.get('val_dataloader')
        config.test_evaluator = config.get('val_evaluator')
        config.test_cfg = dict(config.get('val_cfg') or {}, type='TestLoop')
        write_text(self.config, config.pretty_text)
        super().run(report, threads)


def _monitor(lines: Iterable[str], log: TextIO, report: Report) -> None:
    for line in lines:
        log.write(line)
        log.flush()
        if found := ITERATION.search(line):
            report(int(found[1]) / int(found[2]), f'batch {found[1]} of {found[2]}')
