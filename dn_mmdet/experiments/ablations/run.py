"""All cells of the ablations: what is missing is trained, then the tables are written."""

import multiprocessing
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mmengine.config import Config

from ...datasets import build_digits_coco
from ...utils.errors import UserError
from .cells import CONFIG, TEST_BATCHES, plan
from .report import write_report
from .results import Results

__all__ = ['begin_worker', 'run_ablations', 'run_cell']


def run_ablations(out='work_dirs/ablations', seeds=(0, 1, 2), workers=None):
    """Train and test every cell that the CSV file does not hold yet, then write the tables.

    Each cell trains on one thread, and as many cells as ``workers`` at a time. A finished cell is
    in the CSV file at once; an interrupted one begins anew.

    Args:
        out (str | Path): folder of ``ablations.csv``, ``ablations.md``, ``ablations.png`` and the
            work folders of the cells. Default: 'work_dirs/ablations'.
        seeds (Sequence[int]): default: (0, 1, 2).
        workers (int, optional): processes. Default: the cores that this process may use.

    Returns:
        Path: ``out``.

    Raises:
        UserError: a cell failed for another reason than a diverging loss.
        KeyboardInterrupt: with how to go on.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    build_digits_coco('data/digits')
    tables = plan(seeds)
    results = Results(out / 'ablations.csv', _recipe())
    if results.set_aside:
        print(f'rows of another recipe or data are now in {results.set_aside}')
    jobs = [job for job in _jobs(tables) if not results.has(*job)]
    if jobs:
        try:
            _train(jobs, results, out, workers or len(os.sched_getaffinity(0)))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'{len(results.rows)} rows are in {results.file}; the same '
                'command goes on with the missing cells.'
            ) from None
    text = write_report(results, tables, out)
    print(f'{text}\nIn {out}/: ablations.csv, ablations.md, ablations.png')
    return out


def _recipe():
    """What decides a result beside the cell: configuration and data."""
    return Config.fromfile(CONFIG).pretty_text + Path('data/digits/digits.json').read_text()


def _jobs(tables):
    """Each cell once, seed by seed, with the test batch sizes that it is asked for."""
    cells = dict.fromkeys(cell for cells in tables.values() for cell in cells)
    tested = set(tables['test batch size'])
    return [
        (cell, TEST_BATCHES if cell in tested else ())
        for cell in sorted(cells, key=lambda cell: cell.seed)
    ]


def _train(jobs, results, out, workers):
    began = time.monotonic()
    total, done = sum(map(_cost, jobs)), 0.0
    print(f'{len(jobs)} cells to train, {workers} at a time; their logs are in {out}/', flush=True)
    context = multiprocessing.get_context('spawn')
    pool = ProcessPoolExecutor(workers, context, begin_worker, (str(out),))
    try:
        futures = {pool.submit(run_cell, job[0], str(out), job[1]): job for job in jobs}
        for count, future in enumerate(as_completed(futures), 1):
            job = futures[future]
            results.add(job[0], _rows(future, job[0], out))
            done += _cost(job)
            left = (time.monotonic() - began) * (total / done - 1)
            print(
                f'[{count}/{len(jobs)}] {_describe(results.of(job[0])[0], job[0])}  '
                f'({round(left) // 60}:{round(left) % 60:02d} left)',
                flush=True,
            )
    finally:
        # What still runs would only be trained again.
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def _rows(future, cell, out):
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f'the process that trained {cell.name} was killed, maybe for want of '
            'memory: try --workers 1.'
        ) from error
    except UserError as error:
        raise UserError(f'{cell.name}: {error}') from error
    except Exception as error:
        raise UserError(
            f'{cell.name} failed ({type(error).__name__}: {error}); the log is '
            f'the newest in {out}/{cell.name}.'
        ) from error


def _cost(job):
    """Expected seconds of a cell, on some machine: only their proportions count."""
    cell, test_batches = job
    step = 0.025 + 0.0012 * cell.batch_size
    factor = 1.0 if cell.norm == 'BN' else 1.4
    return 2 + factor * (step * cell.iterations + (25 if test_batches else 0))


def _describe(row, cell):
    where = f'{cell.label}, lr {cell.lr:g}, batch {cell.batch_size}, seed {cell.seed}'
    if row['diverged_at'] is not None:
        return f'{where}: loss not finite at iteration {row["diverged_at"]}'
    return f'{where}: val {row["val"]:.1f} %, train {row["train"]:.1f} %'


def begin_worker(folder):
    """Give the worker one thread, and its words a file: cells run side by side."""
    import os

    import torch

    torch.set_num_threads(1)
    log = open(Path(folder) / f'worker_{os.getpid()}.log', 'a', buffering=1)  # noqa: SIM115
    sys.stdout = sys.stderr = log


def run_cell(cell, folder, test_batches=False):
    """Train a cell from its start and evaluate it on the held-out crops.

    A training whose loss ceases to be finite is a result, not an error.

    Args:
        cell (Cell): the cell.
        folder (str): where its work folder is made; an unfinished one is replaced.
        test_batches (bool): evaluate also at each of ``TEST_BATCHES``. Default: False.

    Returns:
        list[dict]: a row for each test batch size, with ``test_batch_size``; ``train``, the top-1
        accuracy in percent over the last 50 training iterations, and ``val``, on the held-out
        crops (both None where the run diverged); ``diverged_at``, an iteration or None; and the
        ``seconds`` of the training.
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
