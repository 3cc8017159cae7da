"""Predictions of the runs that have none yet, by tools/test.py in processes of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..engine.atomic import atomic_write
from ..engine.errors import UserError
from ..engine.resume import choose_resume
from ..jobs import Progress
from ..paths import tools_root
from .read_results import PREDICTIONS
from .runs import Run

__all__ = ['make_predictions']

# mmengine's log line: "Epoch(test) [ 50/125]    eta: ...".
ITERATION = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]')
# What is tested is what the run was evaluated on in training: its log's last line is of it.
ON_VAL = """
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(val_cfg, type='TestLoop')
"""


def make_predictions(runs: Sequence[Run]) -> list[str]:
    """Test the last checkpoint of each run on its val data, where that is not done yet.

    The predictions go to ``predictions.pkl`` in the work folder, logs to ``test/`` there. A file
    that is newer than the checkpoint is kept, so that the same command goes on after an interrupt.

    Args:
        runs (Sequence[Run]): finished ones.

    Returns:
        list[str]: a sentence for each run that could not be tested.

    Raises:
        KeyboardInterrupt: with how to go on.
    """
    failed = []
    progress = Progress({f'test {run.work_dir}': 1.0 for run in runs})
    for run in runs:
        name, out = f'test {run.work_dir}', Path(run.work_dir, PREDICTIONS)
        try:
            checkpoint = _last_checkpoint(run)
        except UserError as error:
            failed.append(f'{run.work_dir} cannot be tested: {error}')
            progress.skip(name, str(error))
            continue
        if out.is_file() and out.stat().st_mtime >= checkpoint.stat().st_mtime:
            progress.skip(name, f'there already ({out})')
            continue
        step = progress.start(name)
        try:
            _test(run, checkpoint, out, step.show)
        except UserError as error:
            failed.append(str(error))
            step.finish(str(error), whole=False)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                'the same command goes on with the runs that are not tested yet'
            ) from None
        else:
            step.finish()
    return failed


def _last_checkpoint(run):
    config = Config(dict(work_dir=run.work_dir))
    choose_resume(config, 'auto')
    if not config.load_from:
        raise UserError(f'{run.work_dir} has no last_checkpoint.')
    return Path(config.load_from)


def _test(run, checkpoint, out, report):
    folder = Path(run.work_dir, 'test')
    config = folder / 'config.py'
    with atomic_write(config) as file:
        file.write(run.config_file.read_bytes() + ON_VAL.encode())
    command = [
        sys.executable,
        str(tools_root() / 'test.py'),
        str(config),
        str(checkpoint),
        '--work-dir',
        str(folder),
        '--out',
        str(out),
    ]
    log = folder / 'test.log'
    with open(log, 'w', encoding='utf-8') as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=dict(os.environ),
        )
        try:
            for line in process.stdout:
                file.write(line)
                if found := ITERATION.search(line):
                    report(int(found[1]) / int(found[2]), f'batch {found[1]} of {found[2]}')
        finally:
            # On Ctrl-C the child has the signal too: it is given the time to end.
            process.stdout.close()
            status = process.wait()
    if status or not out.is_file():
        last = ' '.join(log.read_text(errors='replace').splitlines()[-1:])
        raise UserError(
            f'{run.work_dir} could not be tested (status {status}, the whole log is '
            f'{log}): {last.removeprefix("error: ")[:500]}'
        )
