"""The demonstration's progress line, with the time left."""

import sys
import time

__all__ = ['Progress']


class Progress:
    """Steps of known relative cost, shown on one line that is written over on a terminal.

    Args:
        costs (dict[str, float]): step to its expected seconds on some machine; only their
            proportions matter once a step has been timed here.
    """

    def __init__(self, costs):
        self.costs = costs
        self.names = list(costs)
        self.name = None
        self.spent = 0.0  # seconds of the steps timed here
        self.expected = 0.0  # what these were expected to cost
        self.shown = -60.0

    def start(self, name):
        """Begin a step."""
        self.name, self.began, self.first_share = name, time.monotonic(), None
        self.show(0.0, '')

    def skip(self, name, why):
        """A step that needs no work."""
        self.costs[name] = 0.0
        print(f'[{self.names.index(name) + 1}/{len(self.names)}] {name}: {why}', flush=True)

    def show(self, share, status):
        """Tell how far the step is: ``share`` from 0 to 1, and a few words."""
        now = time.monotonic()
        # A resumed run starts beyond zero: only what is done here tells the speed.
        if self.first_share is None and status:
            self.first_share = share
        tty = sys.stdout.isatty()
        if not tty and status and now - self.shown < 15 and share < 1:
            return
        self.shown = now
        line = (f'[{self.names.index(self.name) + 1}/{len(self.names)}] {self.name}'
                f'{": " + status if status else ""}  ({_clock(self._left(share))} left in all)')
        print(f'\r\x1b[K{line}' if tty else line, end='' if tty else '\n', flush=True)

    def finish(self, status='done'):
        """End the step."""
        seconds = time.monotonic() - self.began
        done_here = 1 - (self.first_share or 0.0)
        self.spent += seconds
        self.expected += self.costs[self.name] * done_here
        self.costs[self.name] = 0.0
        start = '\r\x1b[K' if sys.stdout.isatty() else ''
        print(f'{start}[{self.names.index(self.name) + 1}/{len(self.names)}] {self.name}: {status} '
              f'({_clock(seconds)})', flush=True)

    def _left(self, share):
        cost = self.costs[self.name]
        done = max(share - (self.first_share or 0.0), 0.0)
        spent = self.spent + time.monotonic() - self.began
        expected = self.expected + cost * done
        # The guess of the costs counts for half a minute, so that the first seconds do not swing.
        speed = (spent + 30) / (expected + 30)
        later = sum(self.costs[name] for name in self.names) - cost * share
        return later * speed


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f'{minutes}:{seconds:02d}'
