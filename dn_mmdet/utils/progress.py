"""One line of progress for steps that run one after another or side by side, with the time left."""

import shutil
import sys
import threading
import time
from collections.abc import Mapping

__all__ = ['Progress', 'Step']

EVERY = 15  # seconds between lines where there is no terminal


class Progress:
    """Steps of known relative cost, shown on one line that is written over on a terminal.

    Args:
        costs (Mapping[str, float]): Step to its expected seconds on some machine; only their
            proportions matter once a step has been timed here.
        workers (int): Steps that run at a time. Defaults to 1.
    """

    def __init__(self, costs: Mapping[str, float], workers: int = 1):
        self.costs = dict(costs)
        self.workers = workers
        self._names = list(costs)
        self._running: list[Step] = []
        self._expected = 0.0  # what was done here was expected to cost that much
        self._began: float | None = None
        self._shown = -60.0
        self._lock = threading.RLock()

    def start(self, name: str) -> 'Step':
        """Begin a step, which is then told how far it is, and when it ends."""
        with self._lock:
            step = Step(self, name)
            self._began = step.began if self._began is None else self._began
            self._running.append(step)
            self._show(force=True)
            return step

    def skip(self, name: str, why: str) -> None:
        """Leave out a step that needs no work, or cannot be done."""
        with self._lock:
            self.costs[name] = 0.0
            self._print(f'{self._place(name)}: {why}')

    def _finish(self, step: 'Step', status: str, seconds: float) -> None:
        self._running.remove(step)
        self._expected += self.costs[step.name] * step.done_here
        self.costs[step.name] = 0.0
        self._print(f'{self._place(step.name)}: {status} ({_clock(seconds)})')

    def _show(self, force: bool = False) -> None:
        now = time.monotonic()
        tty = sys.stdout.isatty()
        if not tty and not force and now - self._shown < EVERY:
            return
        self._shown = now
        steps = [
            f'{self._place(step.name)}{": " + step.status if step.status else ""}'
            for step in self._running
        ]
        if len(steps) > 1:
            # What has not told yet how far it is may never do so.
            steps = [
                f'{self._place(step.name)}{"" if step.untold else f" {step.share:.0%}"}'
                for step in self._running
            ]
        left = f'  ({_clock(self._left(now))} left in total)'
        if not tty:
            print(' | '.join(steps) + left, flush=True)
            return
        # A line that is longer than the terminal is wide could not be written over.
        room = max(shutil.get_terminal_size().columns - 1 - len(left), 10)
        print(f'\r\x1b[K{" | ".join(steps)[:room]}{left}', end='', flush=True)

    def _print(self, line: str) -> None:
        print(f'{chr(13)}\x1b[K{line}' if sys.stdout.isatty() else line, flush=True)

    def _place(self, name: str) -> str:
        return f'[{self._names.index(name) + 1}/{len(self._names)}] {name}'

    def _left(self, now: float) -> float:
        expected = self._expected + sum(
            self.costs[step.name] * step.done_here for step in self._running
        )
        # The guess of the costs counts for half a minute, so that the first seconds do not swing.
        speed = (now - self._began + 30) / (expected + 30 * self.workers)
        later = sum(self.costs.values()) - sum(
            self.costs[step.name] * step.share for step in self._running
        )
        return later * speed


class Step:
    """A step that was begun, see :meth:`Progress.start`."""

    def __init__(self, progress: Progress, name: str):
        self.name = name
        self.status = ''
        self.share = 0.0
        self.began = time.monotonic()
        self._first: float | None = None
        self._progress = progress

    @property
    def untold(self) -> bool:
        """Whether it was never told how far it is."""
        return self._first is None

    @property
    def done_here(self) -> float:
        """Share that was done since it was begun: a resumed run starts beyond zero."""
        return max(self.share - (self._first or 0.0), 0.0)

    def show(self, share: float, status: str) -> None:
        """Tell how far the step is.

        Args:
            share (float): From 0 to 1.
            status (str): A few words.
        """
        with self._progress._lock:
            if self._first is None:
                self._first = share
            self.share, self.status = share, status
            self._progress._show(force=share >= 1)

    def finish(self, status: str = 'done', whole: bool = True) -> None:
        """End the step.

        Args:
            status (str): A few words on how it ended. Defaults to 'done'.
            whole (bool): Whether it came to its end. Defaults to True.
        """
        with self._progress._lock:
            if whole:
                self.share = 1.0
            self._progress._finish(self, status, time.monotonic() - self.began)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
