"""What happens to a process when its parent is gone."""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress

__all__ = ['end_with_parent']

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent() -> None:
    """Have this process told by SIGTERM when its parent ends, also where that is killed.

    Nothing where the system is not Linux. What this process starts is not told.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
