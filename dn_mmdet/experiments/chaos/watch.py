"""How far a run with faults is, and whether it still goes on."""

from __future__ import annotations

import time
from pathlib import Path

from .fleet import Fleet

__all__ = ['Watch']

# Seconds between two looks at the processes.
PERIOD = 0.1
# Seconds without a step after which a run hangs: the others notice after 60 that a process stands
# still, the launcher has 30 more to end them, and a busy machine is slow to begin anew.
PATIENCE = 300


class Watch:
    """The steps of a run, from one start on, and the end of those that do not come.

    Args:
        fleet (Fleet): Its processes.
        work_dir (Path): Its work folder.

    Attributes:
        rows (int): How many steps and evaluations all starts of the run have logged.
        begun (bool): Whether one of them is of this start.
        hung (bool): Whether it had to be ended, since it logged nothing for
            :data:`dn_mmdet.experiments.chaos.watch.PATIENCE`.
    """

    def __init__(self, fleet: Fleet, work_dir: Path) -> None:
        self.fleet, self.work_dir = fleet, work_dir
        self.rows, self.begun, self.hung = self._count(), False, False
        self._since = time.monotonic()

    def goes_on(self) -> bool:
        """Look again, after a moment; False once all processes have ended, or were ended here."""
        time.sleep(PERIOD)
        if not self.fleet.processes():
            return False
        if (rows := self._count()) > self.rows:
            self.rows, self.begun, self._since = rows, True, time.monotonic()
        elif time.monotonic() > self._since + PATIENCE:
            self.hung = True
            self.fleet.end()
        return not self.hung

    def _count(self) -> int:
        logs = self.work_dir.glob('*/vis_data/scalars.json')
        return sum(file.read_bytes().count(b'\n') for file in logs)
