"""Training with things that happen to it, next to a run that nothing happens to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, NamedTuple, Optional

from ...datasets.digits import DigitsSpec, build_digits_coco
from ...paths import configs_root
from ...runs.launch import as_option
from ...runs.log import read_run_log
from ...utils.errors import UserError
from ...utils.files import check_output_folder, write_json
from ...utils.processes import interrupted_by_sigterm
from ...utils.text import first_few, markdown_table
from .faults import FAULTS
from .fleet import Fleet
from .outcome import last_iteration, unlike
from .watch import Watch

__all__ = ['run_chaos']

STATE = 'chaos.json'
# Of env_cfg.dist_cfg: after so many seconds the others notice that a process stands still.
TIMEOUT = 60
# So many steps behind a fault say that it did not end the run.
STEPS = 5

DIGITS = DigitsSpec(train=320, val=80, crops_train=10, crops_val=10)
# Of the run on them, which begins with random weights.
DIGITS_OPTIONS = {'model.backbone.init_cfg': None, 'train_dataloader.batch_size': 8}
OPTIONS = {
    'randomness.seed': 0,
    'default_hooks.logger.interval': 1,
    'env_cfg.dist_cfg.timeout': TIMEOUT,
}


class Moment(NamedTuple):
    """A fault that is to come.

    Attributes:
        kind (str): Its name in :data:`FAULTS`.
        delay (float): Seconds until it comes.
        early (bool): Whether they count from the start of the run, not from its first step.
        draw (Random): What else is drawn.
    """

    kind: str
    delay: float
    early: bool
    draw: Random


NextFault = Callable[[], Optional[Moment]]


def run_chaos(
    work_dir: Path,
    config: str | None = None,
    processes: int = 2,
    minutes: float = 30,
    faults: int | None = None,
    every: float = 60,
    kinds: Sequence[str] | None = None,
    seed: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Train with faults until they are enough, compare with a calm run, and print a table.

    A fault comes at a moment that is drawn, mostly counted from the first step of a start, else
    from its beginning. What was done is in ``chaos.json`` of the folder, from which an interrupted
    call goes on.

    Args:
        work_dir (Path): Folder of all runs: ``calm``, ``run_1`` and so on.
        config (str, optional): Configuration. Defaults to a short one on the embedded digits,
            which are made in ``work_dir``.
        processes (int): Of each run. Defaults to 2.
        minutes (float): After which no fault begins. Defaults to 30.
        faults (int, optional): Number of faults after which there are no more. Defaults to none.
        every (float): Mean seconds between two faults. Defaults to 60.
        kinds (Sequence[str], optional): Words of which a fault's name has one. Defaults to all
            faults of :data:`FAULTS`.
        seed (int, optional): Of the faults and their moments. Defaults to one that is drawn.
        cfg_options (Mapping[str, Any], optional): Overrides, dotted key to value.

    Raises:
        UserError: A run ended other than the calm one, hung, or failed without a fault; or the
            folder is of other runs.
    """
    check_output_folder(work_dir, '--work-dir')
    names = [name for name in FAULTS if kinds is None or any(word in name for word in kinds)]
    if not names:
        raise UserError(f'--kinds {" ".join(kinds)} fits none of {", ".join(FAULTS)}.')
    chaos = _Chaos(work_dir.resolve(), config, processes, cfg_options or {}, seed)
    end = time.monotonic() + 60 * minutes

    def next_fault() -> Moment | None:
        if time.monotonic() > end or (faults is not None and len(chaos.faults) >= faults):
            return None
        # Of a run, too: another one may be over before a moment that would always be the same.
        draw = Random(f'{chaos.seed} {len(chaos.rounds)} {len(chaos.faults)}')
        return Moment(draw.choice(names), draw.uniform(0, 2 * every), draw.random() < 0.25, draw)

    try:
        with interrupted_by_sigterm():
            chaos.train_calmly()
            while not chaos.rounds or next_fault() or chaos.begun:
                chaos.train(next_fault)
    finally:
        print(chaos.table())
    if chaos.wrong:
        raise UserError(f'{chaos.wrong}; what the processes said is in {work_dir}/*.log.')


class _Chaos:
    """All runs of a folder, and what happened to them."""

    def __init__(
        self,
        work_dir: Path,
        config: str | None,
        processes: int,
        options: Mapping[str, Any],
        seed: int | None,
    ) -> None:
        self.work_dir, self._file = work_dir, work_dir / STATE
        options = {**OPTIONS, **({} if config else DIGITS_OPTIONS), **options}
        if not config:
            options.setdefault('data_root', f'{work_dir}/digits/')
        what = dict(
            config=config and str(Path(config).resolve()),
            processes=processes,
            options=[f'{key}={as_option(value)}' for key, value in options.items()],
        )
        found = json.loads(self._file.read_text()) if self._file.is_file() else None
        if found is None:
            drawn = SystemRandom().randrange(10**6)
            found = dict(what=what, seed=drawn if seed is None else seed, faults=[], rounds=[])
        elif found['what'] != what or seed not in (None, found['seed']):
            raise UserError(
                f'{work_dir} is of another configuration, number of processes or seed '
                f'({found["seed"]}): give another folder with --work-dir, or delete it.'
            )
        self._found = found
        self.seed: int = found['seed']
        self.faults: list[dict] = found['faults']
        self.rounds: list[list[str]] = found['rounds']
        if not config:
            build_digits_coco(f'{work_dir}/digits', DIGITS)
            config = str(configs_root() / 'digits/ssdlite_mbv2_dnb_digits.py')
        self._script = [config, str(processes)]
        self._options = ['--resume', '--cfg-options', *what['options']]
        self._keep()
        print(f'Seed of the faults: {self.seed}', flush=True)

    @property
    def begun(self) -> bool:
        """Whether an earlier call began a run that is not compared yet."""
        return (self.work_dir / self._next).exists()

    @property
    def wrong(self) -> str:
        """What is not as it should be, '' where all is."""
        hung = [fault['kind'] for fault in self.faults if fault['hung']]
        differ = [f'run {n}: {first_few(names)}' for n, names in enumerate(self.rounds, 1) if names]
        return '; '.join(
            [f'the run hung after {first_few(hung)}'] * bool(hung)
            + [f'not as in the calm run: {first_few(differ)}'] * bool(differ)
        )

    def train_calmly(self) -> None:
        """Make the run that the others are compared with, unless it is there."""
        done = self.work_dir / 'calm.done'
        if not done.exists():
            self._start('calm', lambda: None)
            done.touch()

    def train(self, next_fault: NextFault) -> None:
        """Make a run with faults, from where it stands, and compare it."""
        name = self._next
        while not self._start(name, next_fault):
            pass
        found = unlike(self.work_dir / 'calm', self.work_dir / name)
        self.rounds.append(found)
        self._keep()
        told = f'unlike the calm run in {first_few(found)}' if found else 'as the calm run'
        print(f'{name} ended {told}.', flush=True)

    def table(self) -> str:
        """What was done, and what became of it."""
        cells = [('what happened', 'times', 'run ended', 'steps made again', 'hung')]
        for kind in FAULTS:
            rows = [fault for fault in self.faults if fault['kind'] == kind]
            if rows:
                ended = [row for row in rows if row['ended']]
                again = ', '.join(str(row['again']) for row in ended)
                hung = sum(row['hung'] for row in rows)
                cells.append((kind, *map(str, (len(rows), len(ended), again, hung))))
        same = sum(not names for names in self.rounds)
        return (
            f'{markdown_table(cells)}\n{len(self.faults)} faults with seed {self.seed}; '
            f'{same} of {len(self.rounds)} runs ended as the calm one, bit for bit.'
        )

    @property
    def _next(self) -> str:
        return f'run_{len(self.rounds) + 1}'

    def _start(self, name: str, next_fault: NextFault) -> bool:
        """Start a run, let faults happen until one has ended it, and say whether it is finished."""
        work_dir, log = self.work_dir / name, self.work_dir / f'{name}.log'
        fleet = Fleet([*self._script, '--work-dir', str(work_dir), *self._options], log)
        watch = Watch(fleet, work_dir)
        try:
            while moment := next_fault():
                iteration = _await(moment, watch)
                if iteration is None:
                    break
                if self._see(moment.kind, iteration, watch):
                    return fleet.status == 0
            while watch.goes_on():
                pass
            if watch.hung:
                self._hung_later(name)
                return False
            if fleet.status:
                raise UserError(
                    f'{name} ended with status {fleet.status} although nothing had happened to it: '
                    f'{_last_line(log)} (full log: {log})'
                )
            return True
        finally:
            fleet.end()

    def _hung_later(self, name: str) -> None:
        if not self.faults:
            raise UserError(f'{name} hangs although nothing has happened to it.')
        self.faults[-1]['hung'] = True
        self._keep()
        print(f'{name}: HUNG later, after {self.faults[-1]["kind"]}', flush=True)

    def _see(self, kind: str, iteration: int, watch: Watch) -> bool:
        """Keep what becomes of a run behind a fault; say whether it ended."""
        begin, fleet, work_dir = time.monotonic(), watch.fleet, watch.work_dir
        watch.goes_on()  # to have seen what was logged before the fault
        enough = watch.rows + STEPS
        # Where the launcher has ended, the others may still make a few steps.
        while watch.goes_on() and (fleet.status is not None or watch.rows < enough):
            pass
        seconds, over = time.monotonic() - begin, not fleet.processes()
        ended = over and fleet.status != 0
        again = max(iteration - last_iteration(work_dir), 0) if ended else 0
        self.faults.append(
            dict(
                kind=kind,
                run=work_dir.name,
                iteration=iteration,
                ended=ended,
                status=fleet.status,
                seconds=round(seconds, 1),
                said=_last_line(Path(f'{work_dir}.log')),
                again=again,
                hung=watch.hung,
            )
        )
        self._keep()
        became = f'ended after {seconds:.1f} s, {again} steps to make again' if ended else 'went on'
        print(
            f'{time.strftime("%H:%M:%S")} {work_dir.name}, step {iteration}: {kind}, '
            f'{"HUNG" if watch.hung else became}',
            flush=True,
        )
        return over

    def _keep(self) -> None:
        write_json(self._file, self._found)


def _await(moment: Moment, watch: Watch) -> int | None:
    """Have a fault happen at its moment; the iteration, None where the run ended before."""
    begin = time.monotonic() if moment.early else None
    while watch.goes_on():
        if begin is None and watch.begun:
            begin = time.monotonic()
        if begin is not None and time.monotonic() >= begin + moment.delay:
            iteration = max(read_run_log(watch.work_dir).train, default=0)
            if FAULTS[moment.kind](watch.fleet, moment.draw):
                return iteration
    return None


def _last_line(log: Path) -> str:
    return log.read_text(errors='replace').rstrip().rpartition('\n')[2]
