"""Training and testing one cell, in a worker process."""

import shutil
import sys
import time
from pathlib import Path

from ..paths import configs_root
from .cells import TEST_BATCHES

__all__ = ['CONFIG', 'begin_worker', 'run_cell']

CONFIG = configs_root() / 'digits' / 'mbv2_ablation_digits.py'


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
    from ..engine import test, train
    from ..engine.divergence import DivergedError

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
