"""One start of a distributed run, with all its processes, whoever their parent is by now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ...paths import tools_root
from ...utils.processes import end_with_parent

__all__ = ['Fleet', 'Process']


class Process(NamedTuple):
    """A process, from /proc.

    Attributes:
        pid (int): Its number.
        parent (int): That of its parent.
        command (bytes): Its command line.
    """

    pid: int
    parent: int
    command: bytes


class Fleet:
    """``tools/dist_train.sh``, started, with its processes and theirs.

    They are known by a word in their environment: those that load data, and those whose launcher
    was killed, are found too.

    Args:
        arguments (Sequence[str]): Of the script.
        log (Path): File that gets what all of them print, behind what stands there.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._mark = f'DN_MMDET_FLEET={uuid.uuid4().hex}'
        name, _, value = self._mark.partition('=')
        with open(log, 'ab') as file:
            self._launcher = subprocess.Popen(
                [tools_root() / 'dist_train.sh', *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHON': sys.executable, name: value},
                start_new_session=True,  # Ctrl-C is for who started it
                preexec_fn=end_with_parent,
            )

    @property
    def launcher(self) -> int:
        """Number of the process that started the others."""
        return self._launcher.pid

    @property
    def status(self) -> int | None:
        """Exit status of the launcher, None while it runs."""
        return self._launcher.poll()

    def processes(self) -> list[Process]:
        """All that run; the launcher's status is there where there are none."""
        # One that executes another program cannot be told from others for a moment.
        while not (found := self._find()) and self.status is None:
            time.sleep(0.001)
        return found

    def _find(self) -> list[Process]:
        mark, found = self._mark.encode(), []
        for place in Path('/proc').glob('[0-9]*'):
            with suppress(OSError, IndexError):  # it may have ended
                if mark in (place / 'environ').read_bytes().split(b'\0'):
                    # "pid (name) state parent ...": a name may hold anything.
                    parent = (place / 'stat').read_text().rpartition(')')[2].split()[1]
                    command = (place / 'cmdline').read_bytes()
                    found.append(Process(int(place.name), int(parent), command))
        return sorted(found)

    def ranks(self) -> list[Process]:
        """The processes that train."""
        return [
            each
            for each in self.processes()
            if each.parent == self.launcher and b'train.py' in each.command
        ]

    def workers(self) -> list[Process]:
        """The processes that load data: forks of those that train."""
        ranks = {each.pid: each.command for each in self.ranks()}
        return [each for each in self.processes() if ranks.get(each.parent) == each.command]

    def tell(self, processes: Sequence[int], number: int) -> None:
        """Send a signal.

        Args:
            processes (Sequence[int]): Their numbers; those that have ended are passed over.
            number (int): Of the signal.
        """
        for each in processes:
            with suppress(ProcessLookupError):
                os.kill(each, number)

    def end(self) -> None:
        """Kill all that run, until there are none."""
        while left := self.processes():
            self.tell([each.pid for each in left], signal.SIGKILL)
            time.sleep(0.05)
