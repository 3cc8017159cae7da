"""A process whose parent is gone, or was gone before it asked."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from dn_mmdet.utils.processes import end_with_parent

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
# A parent that waits for ever, whose child says what it is called and waits too.
PROGRAM = """
import os, time
from dn_mmdet.utils.processes import end_with_parent
if not os.fork():
    end_with_parent(os.getppid())
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_a_process_ends_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        # Its end of the pipe is closed with it.
        begin = time.monotonic()
        assert parent.stdout.read() == b'' and time.monotonic() - begin < 30
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def test_a_parent_that_is_gone_already(monkeypatch):
    told = []
    monkeypatch.setattr(os, 'kill', lambda *what: told.append(what))
    monkeypatch.setattr('ctypes.CDLL', lambda name: object())  # as on another system
    end_with_parent()
    end_with_parent(os.getppid())
    assert told == []
    end_with_parent(os.getpid())
    assert told == [(os.getpid(), signal.SIGTERM)]
