"""What a run wrote of itself: mmengine's scalars, resumed ones merged, and its logs for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ['RunLog', 'died_of_nan', 'read_environment', 'read_revisions', 'read_run_log']

ENTRY = re.compile(r'    ([A-Za-z][\w .()/-]*): (.*)')

# As this package's and mmdet's hooks for invalid losses and mmdet's detectors say it.
NAN = re.compile(
    r'loss is [+-]?(?:nan|inf)|loss become infinite or NaN'
    r'|(?:is|are) (?:not finite|infinite or NaN)|holds NaN or infinite values',
    re.IGNORECASE,
)

# As tools/train.py logs it.
REVISION = re.compile(r'\bgit revision: ([\w-]+)$')

# The compiler's options say nothing that the version does not.
SKIPPED = ('PyTorch compiling details', 'mp_cfg', 'dist_cfg')

# The head of what each start prints.
HEAD = 'System environment:'


@dataclass(frozen=True)
class RunLog:
    """Scalars of one training run.

    Attributes:
        train (dict[int, dict]): Iteration to its logged scalars (``loss``, ``lr``, ``time`` ...).
        val (dict[int, dict]): Epoch, or iteration of a run that counts no epochs, to its metrics
            (``coco/bbox_mAP`` ...).
        starts (tuple[Path, ...]): Folder of each start of the run that has rows here, in order.
        broken (tuple[str, ...]): Lines that could not be read, as 'file:number'.
    """

    train: dict[int, dict[str, Any]] = field(repr=False)
    val: dict[int, dict[str, Any]] = field(repr=False)
    starts: tuple[Path, ...] = ()
    broken: tuple[str, ...] = ()

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """The epochs at which ``metric`` was measured, and its values."""
        points = [(epoch, row[metric]) for epoch, row in sorted(self.val.items()) if metric in row]
        return [epoch for epoch, _ in points], [value for _, value in points]


def read_run_log(work_dir: str | Path) -> RunLog:
    """Read the scalars under a work folder.

    Each start of a run writes into a folder of its own, named by the time, so that sorted names
    are in the order of time. What an earlier start had done from where a later one set in is
    replaced, also where the later one has not come as far yet.

    Args:
        work_dir (str | Path): Folder of ``tools/train.py``.

    Returns:
        RunLog: Empty where nothing was logged. A last line cut off by an interrupt is left out.
    """
    train, val, broken = {}, {}, []  # step to (start, last training iteration before it, row)
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        start, last = file.parent.parent, None
        for row in _rows(file, broken):
            # Training rows carry their iteration; evaluation rows have the epoch as their step.
            if 'iter' in row:
                if last is None:
                    _drop(train, row['iter'])
                    _drop(val, row['iter'])
                last = row['iter']
                train[last] = start, last, row
            elif 'step' in row:
                # A run that counts no epochs logs every evaluation as step 0 unless told not to.
                step = row['step'] or last or 0
                # A hook may log scalars of its own under the same step.
                old = val.get(step)
                val[step] = start, last or 0, {**old[2], **row} if old and old[0] == start else row
    starts = sorted({start for rows in (train, val) for start, _, _ in rows.values()})
    return RunLog(
        *({step: row for step, (_, _, row) in rows.items()} for rows in (train, val)),
        starts=tuple(starts),
        broken=tuple(broken),
    )


def _rows(file: Path, broken: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of a file; lines that hold none are added to ``broken``."""
    for number, line in enumerate(
        file.read_text(encoding='utf-8', errors='replace').splitlines(), 1
    ):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        # What counts: True is an int too.
        if isinstance(row, dict) and all(type(row.get(key, 0)) is int for key in ('iter', 'step')):
            yield row
        else:
            broken.append(f'{file}:{number}')


def _drop(rows: dict[int, tuple], iteration: int) -> None:
    for step in [step for step, (_, at, _) in rows.items() if at >= iteration]:
        del rows[step]


def read_environment(start: Path) -> dict[str, str]:
    """The environment that mmengine wrote at the head of a start's log.

    Args:
        start (Path): Folder of the start.

    Returns:
        dict[str, str]: 'PyTorch' to '2.13.0+cpu' and so on, 'seed' among them; empty without a
        log. A git revision is there where something logged it as an entry.
    """
    for file in _logs(start):
        found, inside = {}, False
        for line in _lines(file):
            if line.startswith(HEAD):
                inside = True
            elif inside and line.startswith('-----'):
                return found
            elif inside and (entry := ENTRY.fullmatch(line)) and entry[1] not in SKIPPED:
                found[entry[1]] = entry[2].strip()
    return {}


def read_revisions(starts: Sequence[Path]) -> str:
    """The revisions of this package's repository that a run was made with.

    Args:
        starts (Sequence[Path]): Folders of its starts.

    Returns:
        str: Hashes, ', then ' between those of a run that was resumed with another; '' where no
        log gives one.
    """
    found = (
        next((match[1] for line in _lines(file) if (match := REVISION.search(line))), None)
        for start in starts
        for file in _logs(start)
    )
    return ', then '.join(dict.fromkeys(filter(None, found)))


def died_of_nan(work_dir: Path, last_start: Path) -> str | None:
    """The line in which the logs of the last start tell of a loss that is not finite, or None.

    Args:
        work_dir (Path): Of the run.
        last_start (Path): Folder of the start that the last rows come from; one that began later
            and wrote no rows is looked at too, and so is a file beside it that caught its output.
    """
    starts = [
        folder
        for folder in sorted(work_dir.iterdir())
        if folder.is_dir() and folder.name >= last_start.name
    ]
    for file in [file for folder in (*starts, work_dir) for file in _logs(folder)]:
        if found := _complaint(_lines(file)):
            return re.sub(r'^.* - (?:INFO|WARNING|ERROR|CRITICAL) - ', '', found)
    return None


def _complaint(lines: Iterable[str]) -> str | None:
    """The first line about NaN that the last start wrote: a file may have what all starts did."""
    found = None
    for line in lines:
        if HEAD in line:
            found = None
        elif found is None and NAN.search(line):
            found = line
    return found


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob('*.log'))


def _lines(file: Path) -> Iterator[str]:
    with open(file, encoding='utf-8', errors='replace') as lines:
        for line in lines:
            yield line.rstrip('\n')
