"""What may happen to a distributed run at any moment."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from random import Random

from .fleet import Fleet

__all__ = ['FAULTS']

# Seconds for which something stands still that goes on afterwards.
PAUSE = 5


def _one(who: Callable[[Fleet], list], number: int) -> Callable[[Fleet, Random], bool]:
    def fault(fleet: Fleet, draw: Random) -> bool:
        found = who(fleet)
        if found:
            fleet.tell([draw.choice(found).pid], number)
        return bool(found)

    return fault


def _launcher(number: int) -> Callable[[Fleet, Random], bool]:
    def fault(fleet: Fleet, draw: Random) -> bool:
        fleet.tell([fleet.launcher], number)
        return True

    return fault


def _kill_all(fleet: Fleet, draw: Random) -> bool:
    fleet.end()
    return True


def _pause_all(fleet: Fleet, draw: Random) -> bool:
    return _pause(fleet, [each.pid for each in fleet.processes()], draw)


def _pause_one(fleet: Fleet, draw: Random) -> bool:
    found = fleet.ranks()
    return bool(found) and _pause(fleet, [draw.choice(found).pid], draw)


def _pause(fleet: Fleet, processes: list[int], draw: Random) -> bool:
    fleet.tell(processes, signal.SIGSTOP)
    time.sleep(draw.uniform(0, PAUSE))
    fleet.tell(processes, signal.SIGCONT)
    return True


# Each says whether it came about: before the processes have started there is none to kill.
FAULTS: dict[str, Callable[[Fleet, Random], bool]] = {
    'all processes killed': _kill_all,
    'one process killed': _one(Fleet.ranks, signal.SIGKILL),
    'a process that loads data killed': _one(Fleet.workers, signal.SIGKILL),
    'the launcher killed': _launcher(signal.SIGKILL),
    'the launcher told by SIGTERM': _launcher(signal.SIGTERM),
    'one process told by SIGTERM': _one(Fleet.ranks, signal.SIGTERM),
    'one process stopped for good': _one(Fleet.ranks, signal.SIGSTOP),
    'one process paused': _pause_one,
    'all processes paused': _pause_all,
}
