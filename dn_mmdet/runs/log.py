"""What a run wrote of itself: mmengine's scalar logs, resumed ones merged."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ['RunLog', 'died_of_nan', 'read_environment', 'read_revisions', 'read_run_log']

ENTRY = re.compile(r'    ([A-Za-z][\w .()/-]*): (.*)')

# As this package's and mmdet's hooks for invalid losses and mmdet's detectors say it.
NAN = re.compile(
    r'^.*(?:loss is [+-]?(?:nan|inf)|loss become infinite or NaN'
    r'|(?:is|are) (?:not finite|infinite or NaN)|holds NaN or infinite values).*$',
    re.MULTILINE | re.IGNORECASE,
)

# As tools/train.py logs it.
REVISION = re.compile(r'^.*\bgit revision: ([\w-]+)$', re.MULTILINE)

# The compiler's options say nothing that the version does not.
SKIPPED = ('PyTorch compiling details', 'mp_cfg', 'dist_cfg')


@dataclass(frozen=True)
class RunLog:
    """Scalars of one training run.

    Attributes:
        train (dict[int, dict]): iteration to its logged scalars (``loss``, ``lr``, ``time`` ...).
        val (dict[int, dict]): epoch, or iteration of a run that counts no epochs, to its metrics
            (``coco/bbox_mAP`` ...).
        starts (tuple[Path, ...]): folder of each start of the run that has rows here, in order.
        broken (tuple[str, ...]): lines that could not be read, as 'file:number'.
    """

    train: dict
    val: dict
    starts: tuple = ()
    broken: tuple = ()

    def curve(self, metric):
        """The epochs at which ``metric`` was measured, and its values, as two lists."""
        points = [(epoch, row[metric]) for epoch, row in sorted(self.val.items()) if metric in row]
        return [epoch for epoch, _ in points], [value for _, value in points]


def read_run_log(work_dir):
    """Read the logs under a work folder.

    Each start of a run writes into a folder of its own, named by the time, so that sorted names
    are in the order of time. What an earlier start had done from where a later one set in is
    replaced, also where the later one has not come as far yet.

    Args:
        work_dir (str | Path): folder of ``tools/train.py``.

    Returns:
        RunLog: empty where nothing was logged. A last line cut off by an interrupt is left out.
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


def _rows(file, broken):
    for number, line in enumerate(
        file.read_text(encoding='utf-8', errors='replace').splitlines(), 1
    ):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            yield row
        else:
            broken.append(f'{file}:{number}')


def _drop(rows, iteration):
    for step in [step for step, (_, at, _) in rows.items() if at >= iteration]:
        del rows[step]


def read_environment(start):
    """The environment that mmengine wrote at the head of a start's log.

    Args:
        start (Path): folder of the start.

    Returns:
        dict[str, str]: 'PyTorch' to '2.13.0+cpu' and so on, 'seed' among them; empty without a
        log. A git revision is there where something logged it as an entry.
    """
    for file in sorted(start.glob('*.log')):
        found = {}
        inside = False
        for line in file.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('System environment:'):
                inside = True
            elif inside and line.startswith('-----'):
                return found
            elif inside and (entry := ENTRY.fullmatch(line)) and entry[1] not in SKIPPED:
                found[entry[1]] = entry[2].strip()
    return {}


def read_revisions(starts):
    """The revisions of this package's repository that a run was made with.

    Args:
        starts (Sequence[Path]): folders of its starts.

    Returns:
        str: hashes, ', then ' between those of a run that was resumed with another; '' where no
        log tells one.
    """
    found = [
        match[1]
        for start in starts
        for file in sorted(start.glob('*.log'))
        if (match := REVISION.search(file.read_text(encoding='utf-8', errors='replace')))
    ]
    return ', then '.join(dict.fromkeys(found))


def died_of_nan(work_dir, last_start):
    """The line in which the logs of the last start tell of a loss that is not finite, or None.

    Args:
        work_dir (Path): of the run.
        last_start (Path): folder of the start that the last rows come from; one that began later
            and wrote no rows is looked at too, and so is a file beside it that caught its output.
    """
    logs = [
        file
        for start in sorted(work_dir.iterdir())
        if start.is_dir() and start.name >= last_start.name
        for file in sorted(start.glob('*.log'))
    ]
    for file in [*logs, *sorted(work_dir.glob('*.log'))]:
        text = file.read_text(encoding='utf-8', errors='replace')
        # A file in the work folder has what all starts printed: the last one counts.
        found = NAN.search(text, max(text.rfind('System environment:'), 0))
        if found:
            return re.sub(r'^.* - (?:INFO|WARNING|ERROR|CRITICAL) - ', '', found[0])
    return None
