"""A training run in its own process: started, monitored, and resumed where it stopped."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from mmengine.config import Config

from ..engine.config import load_config
from ..layers.dnb import SC_INPUT
from ..paths import tools_root
from ..utils.errors import UserError
from ..utils.files import write_json
from ..utils.processes import LAUNCHER
from .config import EARLIER_HOOKS
from .run import LeftOut, read_run
from .schedule import Job, Report

__all__ = ['ToolJob', 'Training', 'as_option', 'data_files', 'fingerprint', 'monitor']

STAMP, LOG = 'training.json', 'training.log'

GRACE = 3  # seconds that a process has to end by itself

# What the builder of the embedded data leaves beside it; its crops have no annotation file.
DATA_STAMP = 'digits.json'

# mmengine's log lines: "Epoch(train)  [2][ 50/187]  lr: ... eta: ... loss: 4.2 ..." and
# "Iter(train) [ 50/400]  lr: ...".
ITERATION = re.compile(
    r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].*?\bloss: ([\d.a-z]+)'
)

METRIC = re.compile(r'(?:Epoch|Iter)\(val\)\s.*?(coco/bbox_mAP|accuracy/top1): ([\d.]+)')


class ToolJob(Job):
    """A job that is one of the command-line tools, in its own process."""

    def __init__(self, name: str, **job: Any):
        super().__init__(name, **job)
        self._process: subprocess.Popen | None = None
        self._stopped = False

    def stop(self, grace: float | None = None) -> None:
        """End the process, also from another thread than the one in :meth:`run`.

        After Ctrl-C on a terminal the process had the signal too: it is given the time to end.
        What it has saved stays.

        Args:
            grace (float, optional): That many seconds. Defaults to 3.
        """
        self._stopped = True
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE if grace is None else grace)
            self._process.terminate()

    def _run_tool(
        self,
        tool: str,
        arguments: Sequence[str | os.PathLike],
        log: Path,
        follow: Callable[[Iterable[str], TextIO], None],
        threads: int | None,
    ) -> tuple[int, str]:
        """Run a tool to its end.

        Args:
            tool (str): File name in the folder of the tools.
            arguments (Sequence[str | PathLike]): Of its command line.
            log (Path): File that gets what it prints, after what stands there.
            follow (Callable[[Iterable[str], TextIO], None]): Given its lines as they come, and the
                log, which it writes them to.
            threads (int, optional): Threads of the process. None leaves them to the environment.

        Returns:
            tuple[int, str]: Its exit status and the last line of the log.
        """
        environment = {**os.environ, LAUNCHER: str(os.getpid())}
        if threads:
            environment['OMP_NUM_THREADS'] = str(threads)
        with open(log, 'a', encoding='utf-8') as file:
            self._process = subprocess.Popen(
                [sys.executable, str(tools_root() / tool), *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors='replace',
                env=environment,
            )
            try:
                if self._stopped:
                    self._process.terminate()
                follow(self._process.stdout, file)
            except BaseException:
                self.stop()
                raise
            finally:
                self._process.stdout.close()
                status = self._process.wait()
        lines = log.read_text(errors='replace').rstrip().splitlines() or ['no output']
        return status, lines[-1].removeprefix('error: ')


class Training(ToolJob):
    """A run of ``tools/train.py``.

    Args:
        name (str): What the run is, for people.
        config (Path): Configuration file.
        work_dir (Path): The run's own folder.
        seed (int): Of ``randomness``.
        options (Mapping[str, Any], optional): Further settings, dotted key to value. Defaults to
            None, for none.
        **job: ``after`` (the run whose checkpoint the backbone starts from) and ``cost`` of
            :class:`Job`.
    """

    def __init__(
        self,
        name: str,
        config: Path,
        work_dir: Path,
        seed: int,
        *,
        options: Mapping[str, Any] | None = None,
        **job: Any,
    ):
        super().__init__(name, **job)
        self.config, self.work_dir, self.seed = config, work_dir, seed
        self.options = options or {}
        self._loaded: tuple[Any, Config] | None = None

    @property
    def checkpoint(self) -> Path:
        """The last one. The best on val would have seen what it is judged on."""
        unit, planned = self._planned
        return self.work_dir / f'{unit}_{planned}.pth'

    output = checkpoint

    @property
    def cfg_options(self) -> list[str]:
        """What makes the configuration this run's, as ``--cfg-options`` of the tools takes it."""
        return [
            f'randomness.seed={self.seed}',
            *(f'{key}={as_option(value)}' for key, value in self.options.items()),
            *(f'model.backbone.init_cfg.checkpoint={run.checkpoint}' for run in self.after),
        ]

    @property
    def done(self) -> bool:
        """Whether the run is whole: its last checkpoint was written to the end, and evaluated."""
        return self._saved and self._evaluated

    @property
    def _saved(self) -> bool:
        pointer = self.work_dir / 'last_checkpoint'  # names it once it is written to the end
        return (
            self.checkpoint.is_file()
            and pointer.is_file()
            and Path(pointer.read_text().strip()).name == self.checkpoint.name
        )

    @property
    def _evaluated(self) -> bool:
        if self._config.get('val_cfg') is None:
            return True
        try:
            return read_run(self.work_dir).finished
        except LeftOut:  # nothing there can say
            return True

    def set_aside(self) -> str:
        """Rename a folder of another configuration, seed or data; see :meth:`prepare`."""
        moved = self._move_aside()
        if moved is None:
            return ''
        return (
            f'{self.work_dir} belongs to another configuration, seed or data set and was moved to '
            f'{moved}'
        )

    def prepare(self) -> Path | None:
        """Make the folder, with a note of what it is for.

        Returns:
            Path | None: Where a folder of another configuration, seed or data is now.
        """
        moved = self._move_aside()
        if not self.work_dir.exists():
            write_json(self.work_dir / STAMP, self.fingerprint())
        return moved

    def fingerprint(self) -> dict[str, Any]:
        """What decides the result: the configuration, the seed, the data, the runs before."""
        return fingerprint(self._config, self.seed, [run.fingerprint() for run in self.after])

    def why_not(self) -> str:
        """How the loss of the run ceased to be finite, which it would again; '' where it did not.

        See :meth:`Job.why_not`.
        """
        try:
            found = read_run(str(self.work_dir)).diverged
        except LeftOut:
            return ''
        return f'diverged: {found} (delete {self.work_dir} to train it again)' if found else ''

    def run(self, report: Report, threads: int | None = None) -> None:
        """Train to the last epoch, from the last checkpoint if there is one.

        Args:
            report (Callable[[float, str], None]): Told the share done, 0 to 1, and how it stands.
            threads (int, optional): Of the process. Defaults to what the environment says.

        Raises:
            UserError: The process failed; the message ends with its last words.
        """
        self.prepare()
        arguments = [
            self.config,
            '--work-dir',
            self.work_dir,
            '--resume',
            '--cfg-options',
            *self.cfg_options,
        ]
        log = self.work_dir / LOG
        unit, planned = self._planned
        epochs = planned if unit == 'epoch' else None
        report(self._saved_share(), 'starts')
        status, last = self._run_tool(
            'train.py',
            arguments,
            log,
            lambda lines, file: monitor(lines, file, epochs, report),
            threads,
        )
        if status:
            raise UserError(f'{self.name} ended with status {status}: {last} (full log: {log})')
        if not self._saved:
            raise UserError(
                f'{self.name} ended without {self.checkpoint}: let '
                f'default_hooks.checkpoint of {self.config} save the last step of its '
                'training loop.'
            )

    def _move_aside(self) -> Path | None:
        if not self.work_dir.exists() or self._is_stamped():
            return None
        now = time.strftime('%Y%m%d_%H%M%S')
        moved = self.work_dir.with_name(f'{self.work_dir.name}.{now}')
        self.work_dir.rename(moved)
        return moved

    def _is_stamped(self) -> bool:
        """Whether the folder says that it is of this configuration, seed and data."""
        stamp = self.work_dir / STAMP
        found = _read(stamp) if stamp.is_file() else None
        if found is None or found == self.fingerprint():
            return found is not None
        before = [run.fingerprint() for run in self.after]
        config = copy.deepcopy(self._config)
        config.setdefault('custom_hooks', EARLIER_HOOKS)
        return found == fingerprint(config, self.seed, before)

    @property
    def _config(self) -> Config:
        state = repr(self.options), self.config.is_file() and self.config.stat().st_mtime_ns
        if self._loaded is None or self._loaded[0] != state:
            # The work folder and what a run starts from are places: they decide nothing.
            self._loaded = state, load_config(str(self.config), self.options, work_dir='')
        return self._loaded[1]

    @property
    def _planned(self) -> tuple[str, int]:
        """'epoch' or 'iter', and how many of them the run has."""
        loop = self._config.get('train_cfg') or {}
        for unit, key in (('epoch', 'max_epochs'), ('iter', 'max_iters')):
            if isinstance(loop.get(key), int):
                return unit, loop[key]
        raise UserError(
            f'{self.config} sets neither train_cfg.max_epochs nor train_cfg.max_iters, so it is '
            'unknown when a run is complete: set one.'
        )

    def _saved_share(self) -> float:
        """How much of the run its last checkpoint holds, 0 to 1."""
        pointer = self.work_dir / 'last_checkpoint'
        unit, planned = self._planned
        found = pointer.is_file() and re.search(rf'{unit}_(\d+)\.pth$', pointer.read_text().strip())
        return min(int(found[1]) / planned, 1.0) if found else 0.0


def as_option(value: Any) -> str:
    """As ``--cfg-options`` reads it: lists without white space."""
    return str(value) if isinstance(value, (str, dict)) else str(value).replace(' ', '')


def _read(stamp: Path) -> Any:
    try:
        return json.loads(stamp.read_text())
    except ValueError:
        return None


def monitor(lines: Iterable[str], log: TextIO, epochs: int | None, report: Report) -> None:
    """Copy the lines of a training to a file as they come, and report what they say.

    Args:
        lines (Iterable[str]): What the process prints.
        log (TextIO): Gets each at once.
        epochs (int, optional): That the training has; None where it counts iterations alone.
        report (Callable[[float, str], None]): Told the share done, 0 to 1, and how it stands.
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


def fingerprint(config: Config, seed: int, before: Sequence[dict] = ()) -> dict[str, Any]:
    """Configuration, seed, data and the runs before, in a form that can be kept and compared.

    Args:
        config (Config): Complete.
        seed (int): Of ``randomness``.
        before (Sequence[dict]): Fingerprints of the runs that it starts from. Defaults to ().

    Returns:
        dict[str, Any]: ``seed`` and ``sha256``.
    """
    complete = _with_forms(config.to_dict())
    found = hashlib.sha256(
        json.dumps([complete, seed, list(before)], sort_keys=True, default=str).encode()
    )
    for file in data_files(config):
        found.update(file.read_bytes())
    return dict(seed=seed, sha256=found.hexdigest())


def _with_forms(value: Any) -> Any:
    """A configuration whose DN-Bs name what has not always been their default."""
    if isinstance(value, dict):
        kept = {key: _with_forms(inner) for key, inner in value.items()}
        is_dnb = str(kept.get('type')).rpartition('.')[2] == 'DNB'
        return {'sc_input': SC_INPUT, **kept} if is_dnb else kept
    return [_with_forms(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def data_files(config: Config) -> list[Path]:
    """Files that stand for the data that a configuration trains and evaluates on.

    Args:
        config (Config): Complete.

    Returns:
        list[Path]: Annotation files, and the stamp of embedded data; those that are there.
    """
    files = []
    for loader in ('train_dataloader', 'val_dataloader'):
        for dataset in _datasets((config.get(loader) or {}).get('dataset')):
            root = Path(dataset.get('data_root') or '')
            files += [root / dataset['ann_file']] if dataset.get('ann_file') else []
            files += [folder / DATA_STAMP for folder in (root, *root.parents)]
    return sorted({file for file in files if file.is_file()})


def _datasets(node: Any) -> Iterator[dict]:
    """Every dataset in a dataset that may wrap or join others."""
    if isinstance(node, dict):
        if 'data_root' in node or 'ann_file' in node:
            yield node
        node = [node.get('dataset'), *(node.get('datasets') or [])]
    for inner in node if isinstance(node, (list, tuple)) else ():
        yield from _datasets(inner)
