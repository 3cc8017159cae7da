"""A process whose parent is gone, or was gone before it asked."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dn_mmdet.utils.processes import end_with_parent

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
# Parents that wait for ever, each with a child that says what it is called and waits too.
PROGRAMS = {
    'asked': """
import os, time
from dn_mmdet.utils.processes import end_with_parent
if not os.fork():
    end_with_parent(os.getppid())
    print(os.getpid(), flush=True)
time.sleep(60)
""",
    'a tool of a comparison': """
import sys
from pathlib import Path
from dn_mmdet.runs import launch
Path('tool.py').write_text('''
import os, time
from dn_mmdet.utils.errors import user_errors
with user_errors():
    assert 'DN_MMDET_LAUNCHER' not in os.environ
    print(os.getpid(), flush=True)
    time.sleep(60)
''')
launch.tools_root = Path
show = lambda lines, log: [print(line, end='', flush=True) for line in lines]
launch.ToolJob('tool')._run_tool('tool.py', [], Path('log'), show, None)
""",
    'a worker of the ablations': """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from dn_mmdet.experiments.ablations.run import begin_worker
if __name__ == '__main__':
    pool = ProcessPoolExecutor(1, get_context('spawn'), begin_worker, ('.',))
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 60).result()
""",
}


@pytest.mark.parametrize('child', PROGRAMS)
def test_a_process_ends_when_its_parent_is_killed(child, tmp_path):
    (tmp_path / 'program.py').write_text(PROGRAMS[child])
    with subprocess.Popen(
        [sys.executable, 'program.py'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
    ) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    try:
        begin = time.monotonic()
        while is_running(child) and time.monotonic() - begin < 30:
            time.sleep(0.05)
        assert not is_running(child)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def is_running(process):
    with suppress(FileNotFoundError, ProcessLookupError):
        # One that nobody waits for stays as a zombie.
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return False


def test_a_parent_that_is_gone_already(monkeypatch):
    told = []
    monkeypatch.setattr(os, 'kill', lambda *what: told.append(what))
    monkeypatch.setattr('ctypes.CDLL', lambda name: object())  # as on another system
    end_with_parent()
    end_with_parent(os.getppid())
    assert told == []
    end_with_parent(os.getpid())
    assert told == [(os.getpid(), signal.SIGTERM)]
