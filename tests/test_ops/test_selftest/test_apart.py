import os
import signal
import time

import pytest

from dn_mmdet.ops.selftest import apart


def work(task):
    if task == 'die':
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 'raise':
        raise ValueError('no\nnumber') from KeyError('cause')
    if task == 'hang':
        time.sleep(60)
    return task, os.getpid()


@pytest.fixture(autouse=True)
def fork(monkeypatch):
    """Processes that start at once."""
    monkeypatch.setattr(apart, 'METHOD', 'fork')


def test_a_process_that_dies_takes_one_task_with_it():
    tasks = ['a', 'die', 'b', 'raise', 'c', 'd']
    found = list(apart.run_apart(work, tasks))
    assert [result and result[0] for result, _ in found] == ['a', None, 'b', None, 'c', 'd']
    assert [fault for _, fault in found] == [
        '', 'the process died of it (exit status -9)', '', 'KeyError: cause', '', '',
    ]  # fmt: skip
    processes = [result[1] for result, _ in found if result]
    # After a fault a new one goes on.
    assert len({*processes}) == 3 and processes[-1] == processes[-2] != os.getpid()


def test_a_task_that_does_not_end():
    began = time.monotonic()
    found = list(apart.run_apart(work, ['hang', 'a'], seconds=0.5))
    assert found[0] == (None, 'no result within 0 s') and found[1][0][0] == 'a'
    assert time.monotonic() - began < 30


def test_who_stops_listening_leaves_no_process():
    outcomes = apart.run_apart(work, ['a', 'hang'])
    (_, process), _ = next(outcomes)
    outcomes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
