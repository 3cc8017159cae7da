"""One training run in its own process: started, followed, and gone on with where it stopped."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from mmengine.config import Config

from ..engine.config import choose_resume, load_config
from ..paths import tools_root
from ..utils.errors import UserError
from ..utils.files import atomic_write
from ..utils.progress import Progress
from .predictions import PREDICTIONS
from .run import Run

__all__ = ['Training', 'data_files', 'fingerprint', 'follow', 'make_predictions']

STAMP, LOG = 'training.json', 'training.log'

GRACE = 3

# mmengine's log line: "Epoch(test) [ 50/125]    eta: ...".
OF_ITERATION = re.compile(r'Epoch\(test\)\s+\[\s*(\d+)/(\d+)\]')

# What is tested is what the run was evaluated on in training: its log's last line is of it.
ON_VAL = """
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(val_cfg, type='TestLoop')
"""

# What the builder of the embedded data leaves beside it; its crops have no annotation file.
DATA_STAMP = 'digits.json'

# mmengine's log lines: "Epoch(train)  [2][ 50/187]  lr: ... eta: ... loss: 4.2 ..." and
# "Iter(train) [ 50/400]  lr: ...".
ITERATION = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?\bloss: ([\d.a-z]+)'
)

METRIC = re.compile(r'(?:Epoch|Iter)\(val\)\s.*?(coco/bbox_mAP|accuracy/top1): ([\d.]+)')


@dataclass(eq=False)
class Training:
    """A run of ``tools/train.py``.

    Args:
        name (str): what the run is, for people.
        config (Path): configuration file.
        work_dir (Path): the run's own folder.
        seed (int): of ``randomness``.
        after (tuple[Training, ...]): the run whose checkpoint the backbone starts from. Default:
            ().
        options (dict[str, Any]): further settings, dotted key to value. Default: {}.
    """

    name: str
    config: Path
    work_dir: Path
    seed: int
    after: tuple = ()
    options: dict = field(default_factory=dict)
    _process: subprocess.Popen | None = field(default=None, init=False, repr=False)
    _loaded: tuple | None = field(default=None, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)

    @property
    def checkpoint(self) -> Path:
        """The last one. The best on val would have seen what it is judged on."""
        unit, planned = self._planned
        return self.work_dir / f'{unit}_{planned}.pth'

    @property
    def done(self) -> bool:
        """Whether the run is whole: its last checkpoint is there and was written to the end."""
        pointer = self.work_dir / 'last_checkpoint'  # names it once it is written to the end
        return (
            self.checkpoint.is_file()
            and pointer.is_file()
            and Path(pointer.read_text().strip()).name == self.checkpoint.name
        )

    def set_aside(self) -> Path | None:
        """Rename a folder of another configuration, seed or data; return where it is now."""
        stamp = self.work_dir / STAMP
        if not self.work_dir.exists() or stamp.is_file() and _read(stamp) == self.fingerprint():
            return None
        now = time.strftime('%Y%m%d_%H%M%S')
        moved = self.work_dir.with_name(f'{self.work_dir.name}.{now}')
        self.work_dir.rename(moved)
        return moved

    def prepare(self) -> Path | None:
        """Make the folder, with a note of what it is for; see :meth:`set_aside`."""
        moved = self.set_aside()
        if not self.work_dir.exists():
            with atomic_write(self.work_dir / STAMP) as file:
                file.write(json.dumps(self.fingerprint(), indent=1).encode())
        return moved

    def fingerprint(self) -> dict:
        """What decides the result: the configuration, the seed, the data, the runs before."""
        return fingerprint(self._config, self.seed, [run.fingerprint() for run in self.after])

    def run(self, report: Callable[[float, str], None], threads: int | None = None) -> None:
        """Train to the last epoch, from the last checkpoint if there is one.

        Args:
            report (Callable[[float, str], None]): told the share done, 0 to 1, and how it stands.
            threads (int, optional): of the process. Default: as the environment says.

        Raises:
            UserError: the process failed; the message ends with its last words.
        """
        log = self.work_dir / LOG
        command = [
            sys.executable,
            str(tools_root() / 'train.py'),
            str(self.config),
            '--work-dir',
            str(self.work_dir),
            '--resume',
            '--cfg-options',
            f'randomness.seed={self.seed}',
            *(f'{key}={_as_option(value)}' for key, value in self.options.items()),
            *(f'model.backbone.init_cfg.checkpoint={run.checkpoint}' for run in self.after),
        ]
        unit, planned = self._planned
        report(self._saved_share(), 'starts')
        environment = dict(os.environ)
        if threads:
            environment['OMP_NUM_THREADS'] = str(threads)
        with open(log, 'a', encoding='utf-8') as file:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                env=environment,
            )
            try:
                if self._stopped:
                    self._process.terminate()
                follow(self._process.stdout, file, planned if unit == 'epoch' else None, report)
            except BaseException:
                self.stop()
                raise
            finally:
                self._process.stdout.close()
                status = self._process.wait()
        if status:
            lines = log.read_text(errors='replace').rstrip().splitlines() or ['it said nothing']
            raise UserError(
                f'{self.name} ended with status {status}: '
                f'{lines[-1].removeprefix("error: ")} (the whole log is {log})'
            )
        if not self.done:
            raise UserError(
                f'{self.name} ended without {self.checkpoint}: let '
                f'default_hooks.checkpoint of {self.config} save the last step of its '
                'training loop.'
            )

    def stop(self, grace: float | None = None) -> None:
        """End the process, also from another thread than the one in :meth:`run`.

        After Ctrl-C on a terminal the process had the signal too: it is given the time to end.
        What it has saved stays.

        Args:
            grace (float, optional): that many seconds. Default: 3.
        """
        self._stopped = True
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE if grace is None else grace)
            self._process.terminate()

    @property
    def _config(self):
        state = repr(self.options), self.config.is_file() and self.config.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != state:
            # The work folder and what a run starts from are places: they decide nothing.
            self._loaded = state, load_config(str(self.config), self.options, work_dir='')
        return self._loaded[1]

    @property
    def _planned(self):
        loop = self._config.get('train_cfg') or {}
        for unit, key in (('epoch', 'max_epochs'), ('iter', 'max_iters')):
            if isinstance(loop.get(key), int):
                return unit, loop[key]
        raise UserError(
            f'{self.config} says neither train_cfg.max_epochs nor train_cfg.max_iters, '
            'so that nobody can tell when a run of it is whole: set one.'
        )

    def _saved_share(self):
        """How much of the run its last checkpoint holds, 0 to 1."""
        pointer = self.work_dir / 'last_checkpoint'
        unit, planned = self._planned
        found = pointer.is_file() and re.search(rf'{unit}_(\d+)\.pth$', pointer.read_text().strip())
        return min(int(found[1]) / planned, 1.0) if found else 0.0


def _as_option(value):
    """As ``--cfg-options`` reads it: lists without white space."""
    return str(value) if isinstance(value, (str, dict)) else str(value).replace(' ', '')


def _read(stamp):
    try:
        return json.loads(stamp.read_text())
    except ValueError:
        return None


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
                if found := OF_ITERATION.search(line):
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


def fingerprint(config: Config, seed: int, before: Sequence[dict] = ()) -> dict:
    """Configuration, seed, data and the runs before, in a form that can be kept and compared.

    Args:
        config (Config): complete.
        seed (int): of ``randomness``.
        before (Sequence[dict]): fingerprints of the runs that it starts from. Default: ().

    Returns:
        dict: ``seed`` and ``sha256``.
    """
    found = hashlib.sha256(
        json.dumps([config.to_dict(), seed, list(before)], sort_keys=True, default=str).encode()
    )
    for file in data_files(config):
        found.update(file.read_bytes())
    return dict(seed=seed, sha256=found.hexdigest())


def data_files(config: Config) -> list[Path]:
    """Files that stand for the data that a configuration trains and evaluates on.

    Returns:
        list[Path]: annotation files, and the stamp of embedded data; those that are there.
    """
    files = []
    for loader in ('train_dataloader', 'val_dataloader'):
        for dataset in _datasets((config.get(loader) or {}).get('dataset')):
            root = Path(dataset.get('data_root') or '')
            files += [root / dataset['ann_file']] if dataset.get('ann_file') else []
            files += [folder / DATA_STAMP for folder in (root, *root.parents)]
    return sorted({file for file in files if file.is_file()})


def _datasets(node) -> Iterator[dict]:
    """Every dataset in a dataset that may wrap or join others."""
    if isinstance(node, dict):
        if 'data_root' in node or 'ann_file' in node:
            yield node
        node = [node.get('dataset'), *(node.get('datasets') or [])]
    for inner in node if isinstance(node, (list, tuple)) else ():
        yield from _datasets(inner)


def follow(
    lines: Iterable[str], log: TextIO, epochs: int | None, report: Callable[[float, str], None]
) -> None:
    """Copy lines to a file as they come, and tell what they say.

    Args:
        lines (Iterable[str]): of the process.
        log (TextIO): gets each at once.
        epochs (int, optional): that the training has; None where it counts iterations alone.
        report (Callable[[float, str], None]): told the share done, 0 to 1, and how it stands.
    """
    metric = ''
    for line in lines:
        log.write(line)
        log.flush()
        if found := METRIC.search(line):
            metric = f', {found[1].split("/")[1].removeprefix("bbox_")} {found[2]}'
        if found := ITERATION.search(line):
            epoch, step, steps, loss = found.groups()
            share, where = int(step) / int(steps), ''
            if epoch is not None and epochs:
                share, where = (int(epoch) - 1 + share) / epochs, f'epoch {epoch}/{epochs}, '
            report(share, f'{where}iteration {step}/{steps}, loss {loss}{metric}')
