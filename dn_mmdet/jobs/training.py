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
from .follow import follow

__all__ = ['Training']

STAMP, LOG = 'training.json', 'training.log'
GRACE = 3


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
