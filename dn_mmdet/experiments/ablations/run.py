"""All cells of the ablations: what is missing is trained, then the tables are written."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Thread
from typing import Any

from mmengine.config import Config

from ...datasets import build_digits_coco
from ...runs import Job, run_all
from ...runs.schedule import Report
from ...utils.errors import UserError
from ...utils.files import check_output_folder
from .cells import CONFIG, TEST_BATCHES, AblationCell, Tables, plan
from .report import write_ablation_report
from .results import AblationResults

__all__ = ['begin_worker', 'run_ablations', 'run_cell']

# A cell, and the test batch sizes that it is asked for.
Asked = tuple[AblationCell, Collection[int]]


def run_ablations(
    out: str | os.PathLike = 'work_dirs/ablations',
    seeds: Sequence[int] = (0, 1, 2),
    workers: int | None = None,
    variants: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> Path:
    """Train and test every cell that the CSV file does not hold yet, then write the tables.

    The tables are of every seed in the file.

    Each cell trains on one thread, and as many cells as ``workers`` at a time. A finished cell is
    in the CSV file at once; an interrupted one starts again.

    Args:
        out (str | PathLike): Folder of ``ablations.csv``, ``ablations.md``, ``ablations.png`` and
            the work folders of the cells. Defaults to 'work_dirs/ablations'.
        seeds (Sequence[int]): Seeds of every setting. Defaults to (0, 1, 2).
        workers (int, optional): Processes. Defaults to the cores that this process may use.
        variants (Sequence[str]): As in :func:`.cells.plan`. Defaults to none.
        only (Sequence[str], optional): Patterns as of file names; cells whose folder's name fits
            none of them are not trained. Defaults to all cells.

    Returns:
        Path: ``out``.

    Raises:
        UserError: A cell failed for another reason than a diverging loss, or there is no such
            variant, or no cell whose name fits ``only``.
        KeyboardInterrupt: The message says how to continue.
    """
    asked = _asked(plan(tuple(dict.fromkeys(seeds)), variants), only)
    out = Path(out)
    check_output_folder(out, '--out')
    out.mkdir(parents=True, exist_ok=True)
    build_digits_coco('data/digits')
    results = AblationResults(out / 'ablations.csv', _recipe())
    if results.foreign:
        print(
            f'{results.foreign} rows of {results.file} are of another recipe or other data: they '
            'stay there, and are not in the tables'
        )
    missing = [job for job in asked if not results.has(*job)]
    if missing:
        try:
            _train(missing, results, out, workers or len(os.sched_getaffinity(0)))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'{len(results.rows)} rows are in {results.file}; the same '
                'command continues with the missing cells.'
            ) from None
    text = write_ablation_report(
        results, plan(sorted({row['seed'] for row in results.rows}), variants), out
    )
    print(f'{text}\nIn {out}/: ablations.csv, ablations.md, ablations.png')
    return out


def _recipe() -> str:
    """What decides a result besides the cell: configuration and data."""
    config = Config.fromfile(CONFIG)
    config.pop('visualizer')  # draws, and decides nothing
    return config.pretty_text + Path('data/digits/digits.json').read_text()


def _asked(tables: Tables, only: Sequence[str] | None) -> list[Asked]:
    """Each cell once, seed by seed."""
    cells = dict.fromkeys(
        cell
        for cells in tables.values()
        for cell in cells
        if only is None or any(fnmatchcase(cell.name, pattern) for pattern in only)
    )
    if not cells:
        raise UserError(
            f'--only {" ".join(map(repr, only))} fits the name of no cell; they are as '
            f'{tables["batch size"][0].name!r}.'
        )
    tested = set(tables['test batch size'])
    return [
        (cell, TEST_BATCHES if cell in tested else ())
        for cell in sorted(cells, key=lambda cell: cell.seed)
    ]


def _train(missing: Sequence[Asked], results: AblationResults, out: Path, workers: int) -> None:
    print(
        f'{len(missing)} cells to train, {workers} at a time; their logs are in {out}/', flush=True
    )
    # Importing everything takes longer than a short training: the processes serve many cells.
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(workers, context, begin_worker, (str(out),))
    try:
        jobs = [_CellJob.of(cell, batches, results, out, pool) for cell, batches in missing]
        run_all(jobs, workers, keep_going=False)
    finally:
        _end(pool)


def _end(pool: ProcessPoolExecutor) -> None:
    # What still runs would only be trained again.
    pool.shutdown(wait=False, cancel_futures=True)
    for child in multiprocessing.active_children():
        child.terminate()


class _CellJob(Job):
    """A cell that one of the worker processes trains."""

    def __init__(
        self,
        name: str,
        cell: AblationCell,
        test_batches: Collection[int],
        results: AblationResults,
        out: Path,
        pool: ProcessPoolExecutor,
        **job: Any,
    ):
        super().__init__(name, **job)
        self.cell, self.test_batches, self.results = cell, test_batches, results
        self.out, self.pool = out, pool

    @classmethod
    def of(cls, cell: AblationCell, test_batches: Collection[int], *context: Any) -> _CellJob:
        """With its name, and the seconds that it takes on some machine."""
        name = f'{cell.label}, lr {cell.lr:g}, batch {cell.batch_size}, seed {cell.seed}'
        step = 0.025 + 0.0012 * cell.batch_size
        factor = 1.0 if cell.norm == 'BN' else 1.4
        cost = 2 + factor * (step * cell.iterations + (25 if test_batches else 0))
        return cls(name, cell, test_batches, *context, cost=cost)

    def run(self, report: Report, threads: int | None = None) -> str:
        """Wait for a worker to train and test it, and save its rows."""
        future = self.pool.submit(run_cell, self.cell, str(self.out), bool(self.test_batches))
        rows = _rows(future, self.cell, self.out)
        self.results.add(self.cell, rows)
        if rows[0]['diverged_at'] is not None:
            return f'loss not finite at iteration {rows[0]["diverged_at"]}'
        return f'val {rows[0]["val"]:.1f} %, train {rows[0]["train"]:.1f} %'

    def stop(self, grace: float | None = None) -> None:
        """End all cells: they share their processes."""
        _end(self.pool)


def _rows(future: Future, cell: AblationCell, out: Path) -> list[dict[str, Any]]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f'the process that trained {cell.name} was killed, possibly out of '
            'memory: try --workers 1.'
        ) from error
    except UserError as error:
        raise UserError(f'{cell.name}: {error}') from error
    except Exception as error:
        raise UserError(
            f'{cell.name} failed ({type(error).__name__}: {error}); the log is '
            f'the newest in {out}/{cell.name}.'
        ) from error


def begin_worker(folder: str) -> None:
    """Give the worker one thread, and its words a file: cells run side by side.

    It ends with the process that began it, also where that is killed.

    Args:
        folder (str): Where ``worker_<process>.log`` is written.
    """
    import torch

    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    log = open(Path(folder) / f'worker_{os.getpid()}.log', 'a', buffering=1)  # noqa: SIM115
    sys.stdout = sys.stderr = log


def _end_with_parent() -> None:
    # Linux tells a process when the thread ends that began it, and here that is the thread of a
    # cell: the helper of utils/processes.py would end a worker behind its first one.
    multiprocessing.parent_process().join()
    os._exit(1)


def run_cell(cell: AblationCell, folder: str, test_batches: bool = False) -> list[dict[str, Any]]:
    """Train a cell from its start and evaluate it on the held-out crops.

    A training whose loss ceases to be finite is a result, not an error.

    Args:
        cell (AblationCell): The cell.
        folder (str): Where its work folder is made; an unfinished one is replaced.
        test_batches (bool): Evaluate also at each of ``TEST_BATCHES``. Defaults to False.

    Returns:
        list[dict[str, Any]]: A row for each test batch size, with ``test_batch_size``; ``train``,
        the top-1 accuracy in percent over the last 50 training iterations, and ``val``, on the
        held-out crops (both None where the run diverged); ``diverged_at``, an iteration or None;
        and the ``seconds`` of the training.
    """
    from ...engine import test, train
    from ...engine.hooks.divergence import DivergedError

    work_dir = Path(folder) / cell.name
    shutil.rmtree(work_dir, ignore_errors=True)
    options = {**cell.options, 'preflight.images': False, 'experiment_name': str(work_dir)}
    began = time.monotonic()
    try:
        runner = train(str(CONFIG), work_dir=str(work_dir), cfg_options=options)
    except DivergedError as error:
        return [
            dict(
                test_batch_size=100,
                train=None,
                val=None,
                diverged_at=error.iteration,
                seconds=time.monotonic() - began,
            )
        ]
    seconds = time.monotonic() - began
    scalars = runner.message_hub.log_scalars
    row = dict(
        test_batch_size=runner.val_dataloader.batch_size,
        train=float(scalars['train/accuracy_top1'].mean(50)),
        val=float(scalars['val/accuracy/top1'].current()),
        diverged_at=None,
        seconds=seconds,
    )
    rows = [row]
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    for size in TEST_BATCHES if test_batches else ():
        metrics = test(
            str(CONFIG),
            checkpoint,
            work_dir=str(work_dir / f'test_batch_{size}'),
            cfg_options={
                **options,
                'test_dataloader.batch_size': size,
                'experiment_name': f'{work_dir}/test_batch_{size}',
            },
        )
        rows.append(dict(row, test_batch_size=size, val=metrics['accuracy/top1']))
    return rows
