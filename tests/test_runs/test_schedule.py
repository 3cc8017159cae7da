import itertools
import os
import signal
import threading
import time

import pytest
import torch

from dn_mmdet.runs import Job, Training, run_all, threads_each
from dn_mmdet.runs.launch import monitor
from dn_mmdet.runs.schedule import Call
from dn_mmdet.utils.errors import UserError


def order(capsys, what='done'):
    lines = [line for line in capsys.readouterr().out.splitlines() if f': {what}' in line]
    return [line.partition('] ')[2].partition(':')[0] for line in lines]


def run(trainings, **settings):
    return run_all(trainings, **settings)


def test_missing_runs_are_run_in_order_and_whole_ones_are_skipped(make, capsys):
    first = make('first')
    trainings = [first, make('second', after=(first,)), make('third')]
    assert run(trainings, workers=1) == {}
    assert order(capsys) == ['first', 'second', 'third']
    assert all(training.done for training in trainings)
    assert run(trainings, workers=1) == {}
    assert order(capsys, 'already done') == ['first', 'second', 'third']
    assert len((first.work_dir / 'given.txt').read_text().splitlines()) == 1


def test_an_interrupted_run_is_resumed(make):
    training = make('first')
    training.prepare()
    (training.work_dir / 'epoch_1.pth').touch()
    assert run([training]) == {} and training.done
    assert '[1][' not in (training.work_dir / 'training.log').read_text()


def test_a_changed_configuration_is_set_aside(make, capsys):
    trainings = [make('first'), make('second')]
    run(trainings)
    trainings[0].config.write_text(trainings[0].config.read_text().replace('lr = 0.1', 'lr = 1'))
    run(trainings)
    assert (
        'work_dirs/first belongs to another configuration, seed or data set and was moved to '
        'work_dirs/first.'
    ) in capsys.readouterr().out
    assert len(list(trainings[0].work_dir.parent.glob('first.*/epoch_2.pth'))) == 1
    assert trainings[0].done
    assert len((trainings[1].work_dir / 'given.txt').read_text().splitlines()) == 1


def test_a_failing_run_is_named_while_others_go_on(make, capsys):
    bad = make('bad', mode='fail')
    trainings = [bad, make('from bad', after=(bad,)), make('good')]
    failed = run(trainings, workers=1)
    assert list(failed) == ['bad', 'from bad'] and trainings[2].done
    assert 'ended with status 1: the disk is full' in failed['bad']
    assert failed['from bad'] == 'not started, because bad failed'
    out = capsys.readouterr().out
    assert '[1/3] bad: failed: bad ended with status 1' in out
    assert '[2/3] from bad: not started, because bad failed' in out
    assert '[3/3] good: done' in out


def test_a_run_that_was_given_up_is_not_tried_again(make, monkeypatch):
    bad = make('bad', mode='fail')
    reasons = {}
    monkeypatch.setattr(Training, 'why_not', lambda self: reasons.get(self.name, ''))
    assert 'status 1' in run([bad])['bad']
    reasons['bad'] = 'diverged'
    assert run([bad]) == {'bad': 'diverged'}
    assert len((bad.work_dir / 'given.txt').read_text().splitlines()) == 1


def test_runs_side_by_side_share_the_cores(make, monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(6)))
    # Each of the first two waits for the other: one after the other they would not end.
    both, calls = threading.Barrier(2, timeout=20), itertools.count()

    def wait_and_monitor(*arguments):
        if next(calls) < 2:
            both.wait()
        monitor(*arguments)

    monkeypatch.setattr('dn_mmdet.runs.launch.monitor', wait_and_monitor)
    trainings = [make('first'), make('second'), make('third')]
    assert run(trainings, workers=2) == {}
    given = [(training.work_dir / 'given.txt').read_text().split()[0] for training in trainings]
    assert given == ['3', '3', '3']


def test_threads_each(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(8)))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert threads_each(30) == (8, 1)
    assert threads_each(3) == (3, 2)
    assert threads_each(30, workers=4) == (4, 2)
    assert threads_each(30, workers=16) == (16, 1)
    assert threads_each(0) == (1, 8)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert threads_each(30) == (1, 8)


@pytest.mark.parametrize(('number', 'workers'), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_signal_ends_all_runs_and_keeps_what_they_saved(make, number, workers):
    trainings = [make('first', mode='hang'), make('second', mode='hang'), make('third')]

    def interrupt():
        while not all((t.work_dir / 'epoch_1.pth').exists() for t in trainings[:workers]):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(trainings, workers=workers)
    assert time.monotonic() - began < 20
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert all(training._process.poll() is not None for training in trainings[:workers])
    assert (trainings[0].work_dir / 'epoch_1.pth').exists()
    assert not trainings[2].work_dir.exists()


def test_jobs_of_this_process_have_the_thread_of_the_caller_and_say_how_they_ended(capsys):
    told = []

    def work(report):
        report(0.5, 'half')
        told.append((threading.current_thread(), torch.get_num_threads()))
        return f'{len(told)} of 2'

    first = Call('first', work)
    assert run([Call('second', work, after=[first]), first], workers=1) == {}
    assert told == [(threading.current_thread(), torch.get_num_threads())] * 2
    out = capsys.readouterr().out
    assert '[2/2] first: 1 of 2 (' in out and '[1/2] second: 2 of 2 (' in out


@pytest.mark.parametrize('workers', [1, 2])
def test_a_failure_may_end_all(workers, make, capsys):
    def fail(report):
        raise UserError('the disk is full')

    hanging = make('first', mode='hang')
    jobs = [hanging] * (workers == 2) + [Call('bad', fail), Call('later', lambda report: None)]
    with pytest.raises(UserError, match='^the disk is full$'):
        run(jobs, workers=workers, keep_going=False)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f'[{workers}/{len(jobs)}] bad: failed (') for line in lines)
    assert not any('later' in line for line in lines)
    assert workers == 1 or hanging._process.poll() is not None


def test_what_cannot_be_started_may_end_all(monkeypatch):
    monkeypatch.setattr(Call, 'why_not', lambda self: 'it diverged')
    with pytest.raises(UserError, match='^first: it diverged$'):
        run([Call('first', lambda report: None)], keep_going=False)


def test_a_job_that_waits_for_none_of_these_is_a_mistake():
    with pytest.raises(ValueError, match='second: what they come after is not among the jobs'):
        run([Call('second', lambda report: None, after=[Job('first')])])
