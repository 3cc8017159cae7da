"""What happens to a process when its parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ['LAUNCHER', 'end_with_launcher', 'end_with_parent', 'interrupted_by_sigterm']

# The environment variable in which what starts a tool of this package tells it its number.
LAUNCHER = 'DN_MMDET_LAUNCHER'

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent(parent: int | None = None) -> None:
    """Have this process told by SIGTERM when its parent ends, also where that is killed.

    Nothing where the system is not Linux. What this process starts is not told.

    Args:
        parent (int, optional): Number of the process that started this one: where that is gone
            by now, this one is told at once. Defaults to the parent of now.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent not in (None, os.getppid()):
        os.kill(os.getpid(), signal.SIGTERM)


def end_with_launcher() -> None:
    """Have this process end with the one that started it, where that is of this package too.

    A comparison or a launcher that is killed leaves nothing running, which would go on in the
    folders of the next one. Processes that this one starts are not concerned.
    """
    if launcher := os.environ.pop(LAUNCHER, ''):
        end_with_parent(int(launcher))


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, so that processes that were started are not left running.

    In another thread than the main one, which has no signals, it does nothing.
    """
    try:
        earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
