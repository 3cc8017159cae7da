"""Runs of several processes that something happens to, and the tool that sees to it."""

import json
import os
import signal
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
import torch

from dn_mmdet.experiments.chaos import faults, run, run_chaos, watch
from dn_mmdet.experiments.chaos.faults import FAULTS
from dn_mmdet.experiments.chaos.fleet import Fleet
from dn_mmdet.experiments.chaos.outcome import unlike
from dn_mmdet.utils.errors import UserError


def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def running(folder):
    """Processes whose command line names a folder."""
    found = []
    for place in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):  # it has ended
            if os.fsencode(folder) in (place / 'cmdline').read_bytes():
                found.append(place.name)
    return found


# A launcher of two processes, each with one that loads data; they log a row after the other.
SCRIPT = '#!/bin/sh\nexec "$PYTHON" -S {folder}/launcher.py "$@"\n'
LAUNCHER = """
import subprocess, sys
ranks = [
    subprocess.Popen([sys.executable, '-S', {folder!r} + '/train.py', str(rank), *sys.argv[1:]])
    for rank in range(2)
]
sys.exit(max(rank.wait() != 0 for rank in ranks))
"""
TRAIN = """
import json, os, pathlib, sys, time
work = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
rank = os.getpid()
if not os.fork():
    while os.getppid() == rank:
        time.sleep(0.01)
    os._exit(0)
folder = work / str(os.getppid()) / 'vis_data'
folder.mkdir(parents=True, exist_ok=True)
for step in range(1, {steps}):
    time.sleep(0.01)
    if sys.argv[1] == '0':
        with open(folder / 'scalars.json', 'a') as file:
            print(json.dumps(dict(iter=step, step=step)), file=file)
sys.exit({status})
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Write what takes the place of tools/dist_train.sh."""

    def write(steps=10**6, status=0):
        for name, text in (
            ('dist_train.sh', SCRIPT.replace('{folder}', str(tmp_path))),
            ('launcher.py', LAUNCHER.replace('{folder!r}', repr(str(tmp_path)))),
            ('train.py', TRAIN.replace('{steps}', str(steps)).replace('{status}', str(status))),
        ):
            (tmp_path / name).write_text(text)
        (tmp_path / 'dist_train.sh').chmod(stat.S_IRWXU)
        monkeypatch.setattr('dn_mmdet.experiments.chaos.fleet.tools_root', lambda: tmp_path)
        (tmp_path / 'chaos/calm').mkdir(parents=True)
        (tmp_path / 'chaos/calm.done').touch()
        return tmp_path / 'chaos'

    return write


@pytest.fixture
def fleet(stand_in, tmp_path):
    stand_in()
    fleet = Fleet(['config', '2', '--work-dir', str(tmp_path / 'work')], tmp_path / 'log')
    wait_for(lambda: len(fleet.workers()) == 2)
    yield fleet
    fleet.end()
    assert fleet.processes() == [] and fleet.status is not None


def test_all_processes_of_a_run_are_found(fleet):
    assert len(fleet.processes()) == 5
    assert [each.parent for each in fleet.ranks()] == [fleet.launcher] * 2
    assert {each.parent for each in fleet.workers()} == {each.pid for each in fleet.ranks()}
    fleet.tell([fleet.launcher], signal.SIGKILL)
    wait_for(lambda: fleet.status)
    assert fleet.status == -signal.SIGKILL and len(fleet.processes()) == 4


def test_what_cannot_be_seen_for_a_moment_is_looked_for_again(fleet, monkeypatch):
    seen = iter([[], fleet.processes()])
    monkeypatch.setattr(fleet, '_find', lambda: next(seen))
    assert len(fleet.processes()) == 5
    monkeypatch.undo()
    fleet.end()
    assert fleet.processes() == [] and fleet.status is not None


# What a fault leaves: the launcher's status, processes that train, that load, and, while it lasts,
# that stand still.
LEFT = {
    'all processes killed': (-signal.SIGKILL, 0, 0, 0),
    'one process killed': (None, 1, 1, 0),
    'a process that loads data killed': (None, 2, 1, 0),
    'the launcher killed': (-signal.SIGKILL, 0, 0, 0),
    'the launcher told by SIGTERM': (-signal.SIGTERM, 0, 0, 0),
    'one process told by SIGTERM': (None, 1, 1, 0),
    'one process stopped for good': (None, 2, 2, 1),
    'one process paused': (None, 2, 2, 1),
    'all processes paused': (None, 2, 2, 5),
}


@pytest.mark.parametrize('kind', FAULTS)
def test_a_fault_happens_to_whom_its_name_says(kind, fleet, monkeypatch):
    still = []

    def state(process):
        return Path(f'/proc/{process.pid}/stat').read_text().rpartition(')')[2].split()[0]

    def look(seconds=0):
        assert 0 <= seconds <= faults.PAUSE
        wait_for(lambda: [*map(state, fleet.processes())].count('T') == LEFT[kind][3])
        still.append(LEFT[kind][3])

    monkeypatch.setattr(faults, 'time', SimpleNamespace(sleep=look))
    assert FAULTS[kind](fleet, Random(0))
    if kind == 'one process stopped for good':
        look()
    assert still == ([LEFT[kind][3]] if LEFT[kind][3] else [])
    # Those of a launcher that is gone are the launcher's no more.
    wait_for(lambda: (fleet.status, len(fleet.ranks()), len(fleet.workers())) == LEFT[kind][:3])


@pytest.mark.parametrize(('seed', 'told'), [
    (1, 'one process stopped for good, HUNG'),  # the one that logs
    (2, 'run_1: HUNG later, after one process stopped for good'),  # the other
])  # fmt: skip
def test_a_run_that_hangs_is_told_and_ended(seed, told, stand_in, monkeypatch, capsys):
    work = stand_in(steps=50)
    monkeypatch.setattr(watch, 'PATIENCE', 1)
    monkeypatch.setattr(run, 'unlike', lambda *_: [])
    with pytest.raises(UserError, match='the run hung after one process stopped for good; what'):
        run_chaos(work, 'config.py', faults=1, every=0, kinds=['for good'], seed=seed)
    assert told in capsys.readouterr().out


def test_a_run_that_never_begins_is_told_and_ended(stand_in, monkeypatch):
    work = stand_in(steps=0)
    (work.parent / 'train.py').write_text('import time; time.sleep(1000)')
    monkeypatch.setattr(watch, 'PATIENCE', 1)
    with pytest.raises(UserError, match='run_1 hangs although nothing has happened to it'):
        run_chaos(work, 'config.py', faults=1)


def test_a_run_that_is_over_before_its_fault_is_followed_by_another(stand_in, monkeypatch):
    """With seed 0 moments come after 1.5, 0.2, 0.5, 0.3 and 0.0 seconds; a run takes a tenth."""
    work = stand_in(steps=10)
    monkeypatch.setattr(run, 'unlike', lambda *_: [])
    run_chaos(work, 'config.py', minutes=1, faults=1, every=1, kinds=['launcher killed'], seed=0)
    content = json.loads((work / 'chaos.json').read_text())
    assert [fault['kind'] for fault in content['faults']] == ['the launcher killed']
    assert len(content['rounds']) > 1


def test_a_run_that_fails_without_a_fault_ends_all(stand_in):
    work = stand_in(steps=5, status=3)
    with pytest.raises(UserError, match='run_1 ended with status 1 although nothing had happened'):
        run_chaos(work, 'config.py', minutes=0)


def test_another_outcome_is_told(stand_in, monkeypatch):
    work = stand_in(steps=5)
    monkeypatch.setattr(run, 'unlike', lambda *_: ['optimizer.state'])
    with pytest.raises(UserError, match='not as in the calm run: run 1: optimizer.state; what the'):
        run_chaos(work, 'config.py', minutes=0)


def test_a_folder_belongs_to_a_configuration_and_a_seed(stand_in, monkeypatch):
    work = stand_in(steps=5)
    monkeypatch.setattr(run, 'unlike', lambda *_: [])
    run_chaos(work, 'config.py', minutes=0, seed=3)
    for changed in (dict(config='other.py'), dict(seed=4), dict(processes=3)):
        with pytest.raises(UserError, match='is of another configuration, number of processes or'):
            run_chaos(work, **dict(config='config.py', minutes=0) | changed)
    with pytest.raises(UserError, match='--kinds lightning fits none of all processes killed, one'):
        run_chaos(work, 'config.py', kinds=['lightning'])


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process(number, stand_in, tmp_path):
    work, seen = stand_in(), []

    def interrupt():
        wait_for(lambda: list(work.glob('run_1/*/vis_data/scalars.json')))
        seen.extend(running(tmp_path))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_chaos(work, 'config.py', faults=1, every=100, seed=0)
    thread.join()
    assert len(seen) > 3 and not running(tmp_path)


def test_every_difference_of_two_runs_is_named(tmp_path):
    """A bit of a weight, of the optimizer's state, of a metric; not the times."""

    def leave(name, weight=1.0, momentum=1.0, loss=2.0, score=0.5, seconds=1.0, more=()):
        work = tmp_path / name
        (work / '1/vis_data').mkdir(parents=True)
        rows = [
            dict(loss=loss, iter=1, step=1, time=seconds),
            {'coco/bbox_mAP': score, 'step': 1, 'time': seconds},
        ]
        (work / '1/vis_data/scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n')
        content = dict(
            state_dict={'weight': torch.tensor([weight])},
            optimizer=dict(state={0: dict(momentum_buffer=torch.tensor([momentum]))}),
            param_schedulers=[],
            meta=dict(epoch=1, iter=1, seed=0),
        )
        torch.save(content, work / 'epoch_1.pth')
        (work / 'last_checkpoint').write_text(str(work / 'epoch_1.pth'))
        for file in more:
            (work / file).touch()
        return work

    calm = leave('calm')
    assert unlike(calm, leave('same', seconds=2.0)) == []
    bit = 1 + 2**-23
    for name, changed in {
        'state_dict.weight': dict(weight=bit),
        'optimizer.state.0.momentum_buffer': dict(momentum=bit),
        'log.train.1.loss': dict(loss=2.5),
        'log.val.1.coco/bbox_mAP': dict(score=0.25),
        'checkpoints': dict(more=['interrupted.pth']),
    }.items():
        assert unlike(calm, leave(name.replace('/', '_'), **changed)) == [name]
