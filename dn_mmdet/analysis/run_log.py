"""What a run wrote of itself: mmengine's scalar logs, resumed ones merged."""

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ['RunLog', 'read_run_log']


@dataclass(frozen=True)
class RunLog:
    """Scalars of one training run.

    Attributes:
        train (dict[int, dict]): iteration to its logged scalars (``loss``, ``lr``, ``time`` ...).
        val (dict[int, dict]): epoch to its metrics (``coco/bbox_mAP`` ...).
    """

    train: dict
    val: dict

    def curve(self, metric):
        """The epochs at which ``metric`` was measured, and its values, as two lists."""
        points = [(epoch, row[metric]) for epoch, row in sorted(self.val.items()) if metric in row]
        return [epoch for epoch, _ in points], [value for _, value in points]


def read_run_log(work_dir):
    """Read the logs under a work folder.

    Each start of a run writes into a folder of its own, named by the time, so that sorted names
    are in the order of time: what a resumed run did again replaces what it had done before.

    Args:
        work_dir (str | Path): folder of ``tools/train.py``.

    Returns:
        RunLog: empty where nothing was logged. A last line cut off by an interrupt is left out.
    """
    train, val = {}, {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in file.read_text(encoding='utf-8').splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            # Training rows carry their iteration; evaluation rows have the epoch as their step.
            if 'iter' in row:
                train[row['iter']] = row
            elif 'step' in row:
                val[row['step']] = row
    return RunLog(train, val)
