"""One training run in its own process: started, followed, and gone on with where it stopped."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..engine.atomic import atomic_write
from ..engine.config import load_config
from ..engine.errors import UserError
from ..paths import tools_root
from .fingerprint import fingerprint

__all__ = ['Training']

# mmengine's log lines: "Epoch(train)  [2][ 50/187]  lr: ... eta: ... loss: 4.2 ..." and
# "Iter(train) [ 50/400]  lr: ...".
ITERATION = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?\bloss: ([\d.a-z]+)')
METRIC = re.compile(r'(?:Epoch|Iter)\(val\)\s.*?(coco/bbox_mAP|accuracy/top1): ([\d.]+)')
STAMP, LOG = 'training.json', 'training.log'
GRACE = 3  # seconds for a process that had Ctrl-C from the terminal too


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

    @property
    def checkpoint(self) -> Path:
        """The last one. The best on val would have seen what it is judged on."""
        unit, planned = self._planned
        return self.work_dir / f'{unit}_{planned}.pth'

    @property
    def done(self) -> bool:
        """Whether the run is whole: its last checkpoint is there and was written to the end."""
        pointer = self.work_dir / 'last_checkpoint'  # names it once it is written to the end
        return (self.checkpoint.is_file() and pointer.is_file()
                and Path(pointer.read_text().strip()).resolve() == self.checkpoint.resolve())

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
            sys.executable, str(tools_root() / 'train.py'), str(self.config), '--work-dir',
            str(self.work_dir), '--resume', '--cfg-options', f'randomness.seed={self.seed}',
            *(f'{key}={_as_option(value)}' for key, value in self.options.items()),
            *(f'model.backbone.init_cfg.checkpoint={run.checkpoint}' for run in self.after)
        ]
        environment = dict(os.environ)
        if threads:
            environment['OMP_NUM_THREADS'] = str(threads)
        with open(log, 'a', encoding='utf-8') as file:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors='replace', env=environment)
            try:
                self._follow(self._process.stdout, file, report)
            finally:
                # On Ctrl-C the child has the signal too: it is given the time to end.
                self._process.stdout.close()
                status = self._process.wait()
        if status or not self.done:
            last = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-5:])
            raise UserError(f'{self.name} ended with status {status}; the whole log is {log} and '
                            f'its last lines are:\n{last}')

    def stop(self) -> None:
        """End the process of a run that another thread follows; what it had saved stays."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
            self._process.terminate()

    @property
    def _config(self):
        # The work folder and what it starts from are places: they decide nothing.
        return load_config(str(self.config), self.options, work_dir='')

    @property
    def _planned(self):
        loop = self._config.get('train_cfg') or {}
        for unit, key in (('epoch', 'max_epochs'), ('iter', 'max_iters')):
            if isinstance(loop.get(key), int):
                return unit, loop[key]
        raise UserError(f'{self.config} says neither train_cfg.max_epochs nor train_cfg.max_iters, '
                        'so that nobody can tell when a run of it is whole: set one.')

    def _follow(self, lines, file, report):
        metric = ''
        unit, planned = self._planned
        for line in lines:
            file.write(line)
            file.flush()
            if found := METRIC.search(line):
                metric = f', {found[1].split("/")[1].removeprefix("bbox_")} {found[2]}'
            if found := ITERATION.search(line):
                epoch, step, steps, loss = found.groups()
                share = int(step) / int(steps)
                where = ''
                if epoch is not None and unit == 'epoch':
                    share = (int(epoch) - 1 + share) / planned
                    where = f'epoch {epoch}/{planned}, '
                report(share, f'{where}iteration {step}/{steps}, loss {loss}{metric}')


def _as_option(value):
    """As ``--cfg-options`` reads it: lists without white space."""
    return value if isinstance(value, str) else str(value).replace(' ', '')


def _read(stamp):
    try:
        return json.loads(stamp.read_text())
    except ValueError:
        return None
