"""Detectors trained, measured at once and kept as rows: what is measured outlives the machine."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from mmengine.config import Config

from ..analysis.corruption import Corrupted
from ..benchmark.environment import describe_environment
from ..compare.comparison import Comparison
from ..compare.run import compare_runs
from ..engine import load_config
from ..runs import Training, read_run, run_all
from ..runs.launch import ToolJob
from ..runs.run import NormLabel
from ..runs.schedule import Report
from ..utils.errors import UserError
from ..utils.versions import git_revision
from .rows import Rows

__all__ = ['KEY', 'Measured', 'compare_measured', 'measured_rows', 'train_and_measure']

# What tells rows apart. Rows of one setting differ in the first two.
KEY = ('arm', 'seed', 'epochs', 'lr', 'batch_size', 'weights', 'options')

# Columns that are text.
WORDS = ('arm', 'weights', 'options', 'norm', 'revision', 'machine', 'diverged')

# Where a run finds things, and how it is watched: these decide nothing.
PLACES = ('data_root', 'model.backbone.init_cfg.checkpoint')

METRIC = 'coco/bbox_mAP'

# Many short tests in one process, and the classes in their results.
TESTED = (
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'test_evaluator.classwise=True',
)

# As corruption.py prints it.
TEST = re.compile(r'\w+, severity \d \((\d+) of (\d+)\)')


@dataclass(frozen=True)
class Measured:
    """A detector that is to have a row.

    Args:
        arm (str): Its name in the row.
        training (Training): Of the detector.
        given (Mapping[str, Any]): Settings that a user gave for all arms, dotted key to value; but
            for places, runs with others are other rows. Defaults to {}.
    """

    arm: str
    training: Training
    given: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> Config:
        """The complete configuration."""
        return load_config(str(self.training.config), self.training.options, work_dir='')

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Values of the columns of :data:`KEY`."""
        config = self.config
        start = config.model.backbone.get('init_cfg') or {}
        return dict(
            arm=self.arm,
            seed=self.training.seed,
            epochs=config.train_cfg.get('max_epochs'),
            lr=config.optim_wrapper.optimizer.lr,
            batch_size=config.train_dataloader.batch_size,
            # The name: published files have their hash in it.
            weights='own' if self.training.after else os.path.basename(start.get('checkpoint', '')),
            options=' '.join(
                f'{key}={value}' for key, value in sorted(self.given.items()) if key not in PLACES
            ),
        )


def measured_rows(file: str | os.PathLike) -> Rows:
    """The rows of measured detectors.

    Args:
        file (str | PathLike): CSV file; need not exist.

    Returns:
        Rows: By :data:`KEY`.

    Raises:
        UserError: The file is not such a CSV file.
    """
    return Rows(file, KEY, WORDS, ('norm', 'revision', 'machine'))


def train_and_measure(
    detectors: Sequence[Measured],
    rows: Rows,
    workers: int | None = None,
    cache: str | os.PathLike | None = None,
) -> dict[str, str]:
    """Train and measure the detectors that have no row yet, each measured as soon as it is trained.

    A run that diverged has a row that says so. What is killed goes on from the last checkpoint, or
    with the next measurement.

    Args:
        detectors (Sequence[Measured]): In this order.
        rows (Rows): Where rows are looked for and put, by :data:`KEY`.
        workers (int, optional): Runs at a time. Defaults to one for each core, with a GPU to 1.
        cache (str | PathLike, optional): Folder for corrupted images. Defaults to none.

    Returns:
        dict[str, str]: Work folder of each run that could not be trained or measured to the reason.

    Raises:
        UserError: A configuration or the file of the rows cannot be read.
        KeyboardInterrupt: The message says how to continue.
    """
    missing = [(detector, detector.identity) for detector in detectors]
    missing = [(detector, identity) for detector, identity in missing if not rows.has(identity)]
    print(f'{len(detectors) - len(missing)} of {len(detectors)} runs are in {rows.file}')
    jobs: dict[str, Training | _Measurement] = {}
    for detector, identity in missing:
        training = detector.training
        job = _Measurement(
            _name(detector),
            detector,
            identity,
            rows,
            None if cache is None else Path(cache),
            after=(training,),
            cost=120.0,
        )
        jobs.update({step.name: step for step in (*training.after, training, job)})
    try:
        failed = run_all(list(jobs.values()), workers)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f'finished runs are in {rows.file}; the same command resumes the others'
        ) from None
    for detector, identity in missing:
        if reason := detector.training.why_not():
            # A folder is deleted by hand; a row is what a later machine sees.
            rows.add({**identity, **_circumstances(detector), 'diverged': reason.split(' (')[0]})
    return {
        str(detector.training.work_dir): failed[name]
        for detector, _ in missing
        for name in (_name(detector), detector.training.name)
        if name in failed
    }


def compare_measured(
    detectors: Sequence[Measured], rows: Rows, failed: Mapping[str, str], **report: Any
) -> Comparison | None:
    """Compare logs and predictions, where they are not gone: the rows are what counts.

    Args:
        detectors (Sequence[Measured]): All of a comparison.
        rows (Rows): Where their rows are.
        failed (Mapping[str, str]): What :func:`train_and_measure` returns.
        **report (Any): Further arguments of :func:`compare_runs`.

    Returns:
        Comparison | None: None where runs are rows alone, or cannot be compared; the reason is
        printed.
    """
    trainings = [detector.training for detector in detectors]
    away = sum(not (t.done or t.why_not() or str(t.work_dir) in failed) for t in trainings)
    if away:
        print(
            f'{away} of {len(trainings)} runs are rows of {rows.file} alone, so logs and '
            'predictions are not compared'
        )
        return None
    try:
        return compare_runs(
            [training.work_dir for training in trainings], failed=failed, **{'test': True, **report}
        )
    except UserError as error:
        print(f'logs and predictions are not compared: {error}')
        return None


def _name(detector: Measured) -> str:
    return f'measure {detector.training.name.removeprefix("train ")}'


class _Measurement(ToolJob):
    """The tests of one trained detector, and its row."""

    def __init__(
        self,
        name: str,
        detector: Measured,
        identity: Mapping[str, Any],
        rows: Rows,
        cache: Path | None,
        **job: Any,
    ):
        super().__init__(name, **job)
        self.detector, self.identity, self.rows, self.cache = detector, identity, rows, cache

    def run(self, report: Report, threads: int | None = None) -> str:
        """Test what is not tested yet, and add the row."""
        corrupted = Corrupted(
            **self._test(
                'corruption',
                *([] if self.cache is None else ['--cache', self.cache]),
                report=report,
                threads=threads,
            )
        )
        row = {**self.identity, **_circumstances(self.detector)}
        row.update(mAP=corrupted.clean[METRIC], AP50=corrupted.clean[f'{METRIC}_50'])
        row.update(
            {
                f'AP {name.removeprefix("coco/").removesuffix("_precision")}': value
                for name, value in corrupted.clean.items()
                if name.endswith('_precision')
            }
        )
        if NormLabel.of(self.detector.config.to_dict()).name in ('DN-B', 'DN-C'):
            static = self._test('static_affine', report=report, threads=threads)
            row.update(static_mAP=static['static'][METRIC])
        row.update(mPC=corrupted.under_corruption(METRIC), rPC=corrupted.relative(METRIC))
        row.update({kind: corrupted.of_kind(kind, METRIC) for kind in corrupted.corrupted})
        self.rows.add(row)
        return f'mAP {row["mAP"]:.3f}, corrupted {row["mPC"]:.3f}'

    def _test(
        self, tool: str, *arguments: Any, report: Report, threads: int | None
    ) -> dict[str, Any]:
        """What a tool wrote, which is asked where there is nothing newer than the checkpoint."""
        training = self.detector.training
        folder = training.work_dir / 'measured'
        file, log = folder / f'{tool}.json', folder / f'{tool}.log'
        if not file.is_file() or file.stat().st_mtime < training.checkpoint.stat().st_mtime:
            folder.mkdir(exist_ok=True)
            log.unlink(missing_ok=True)
            report(0.0, tool)
            status, last = self._run_tool(
                f'analysis_tools/{tool}.py',
                [
                    *(training.config, training.checkpoint, '--work-dir', folder, '--out', file),
                    *arguments,
                    '--cfg-options',
                    *training.cfg_options,
                    *TESTED,
                ],
                log,
                lambda lines, log: _follow(lines, log, report),
                threads,
            )
            if status or not file.is_file():
                raise UserError(
                    f'{training.work_dir} could not be measured by {tool}.py (status {status}, '
                    f'full log: {log}): {last[:500]}'
                )
        return json.loads(file.read_text())


def _circumstances(detector: Measured) -> dict[str, Any]:
    """What is neither setting nor result: the norm in words, time, code and machine."""
    run, here = read_run(detector.training.work_dir), describe_environment()
    return dict(
        norm=str(run.norm),
        seconds_per_step=run.typical('time'),
        revision=run.environment.get('git revision') or git_revision(),
        machine=f'{here["cpu"]}, torch {run.environment.get("PyTorch", here["torch"])}',
    )


def _follow(lines: Iterable[str], log: TextIO, report: Report) -> None:
    for line in lines:
        log.write(line)
        log.flush()
        if found := TEST.search(line):
            report((int(found[1]) - 1) / int(found[2]), line.strip())
