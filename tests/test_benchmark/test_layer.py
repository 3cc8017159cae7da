"""Timing on a clock that the test winds, memory against sums by hand, and the command line."""

import json
import os
import runpy
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dn_mmdet.benchmark import (
    Case,
    choose_number,
    describe_environment,
    measure_memory,
    process_settings,
    summarize_times,
    time_interleaved,
)
from dn_mmdet.benchmark.__main__ import main
from dn_mmdet.benchmark.layer import LayerCase, available_paths, benchmark_layer
from dn_mmdet.benchmark.measure import Subject, measure_subjects
from dn_mmdet.benchmark.tables import results_table
from dn_mmdet.ops.dispatch import choose_path
from dn_mmdet.utils.files import write_json

ROOT = Path(__file__).parents[2]
CASE_KEYS = {*('shape', 'dtype', 'layout', 'mode', 'activation', 'device', 'repeats', 'warmup')}
ROW_KEYS = {
    *('norm', 'path'),
    *('seconds', 'seconds_q1', 'seconds_q3', 'ratio', 'ratio_q1', 'ratio_q3', 'rounds'),
    *('saved', 'saved_ratio', 'peak', 'peak_ratio'),
}


class Machine:
    """A clock, and calls that take the given seconds of it and are remembered."""

    def __init__(self, **costs):
        self.now = 0.0
        self.seen = []
        self.slowdown = 1.0
        self.calls = {label: self._call(label, cost) for label, cost in costs.items()}

    def _call(self, label, cost):
        def call():
            self.seen.append(label)
            self.now += cost * self.slowdown

        return call

    def clock(self):
        return self.now


def test_every_callable_is_timed_in_every_round_after_the_warmup():
    machine = Machine(a=1.0, b=3.0)
    done = []
    times = time_interleaved(
        machine.calls,
        repeats=4,
        warmup=2,
        number=5,
        clock=machine.clock,
        progress=lambda *rounds: done.append(rounds),
    )
    assert times == {'a': [1.0] * 4, 'b': [3.0] * 4}
    assert machine.seen.count('a') == machine.seen.count('b') == 6 * 5
    assert done == [(i, 6) for i in range(1, 7)]


def test_settling_calls_come_first_and_are_not_timed():
    machine = Machine(a=1.0, b=1.0)
    first = []

    def slower_at_first(label, call):
        def run():
            repeated = machine.seen[-1:] == [label]
            machine.slowdown = 1.0 if repeated else 9.0
            first.append(not repeated)
            call()

        return run

    calls = {label: slower_at_first(label, call) for label, call in machine.calls.items()}
    times = time_interleaved(calls, repeats=3, warmup=0, settle=1, clock=machine.clock)
    assert sum(first) == 5 and len(first) == 12
    assert times == {'a': [1.0] * 3, 'b': [1.0] * 3}


def test_no_callable_has_a_fixed_place_or_predecessor():
    machine = Machine(a=1.0, b=1.0, c=1.0)
    time_interleaved(machine.calls, repeats=6, warmup=0, clock=machine.clock)
    rounds = [''.join(machine.seen[i : i + 3]) for i in range(0, 18, 3)]
    assert sorted(rounds) == ['abc', 'acb', 'bac', 'bca', 'cab', 'cba']


def test_a_machine_that_slows_down_changes_times_and_not_ratios():
    machine = Machine(BN=1.0, other=2.0)

    def slow_down(done, of):
        machine.slowdown *= 1.5

    times = time_interleaved(
        machine.calls, repeats=7, warmup=1, clock=machine.clock, progress=slow_down
    )
    found = summarize_times(times, 'BN')['other']
    assert found.seconds == pytest.approx(2 * 1.5**4)
    assert found.seconds_q3 / found.seconds_q1 == pytest.approx(1.5**3)
    assert (found.ratio, found.ratio_q1, found.ratio_q3) == pytest.approx((2, 2, 2))


def test_the_context_is_entered_outside_the_time():
    machine = Machine(a=1.0, b=1.0)
    open_now = []

    class Context:
        def __init__(self, label):
            self.label = label

        def __enter__(self):
            machine.now += 100
            open_now.append(self.label)

        def __exit__(self, *_):
            machine.now += 100
            open_now.pop()

    def check(label):
        def call():
            assert open_now == [label]
            machine.now += 1

        return call

    times = time_interleaved(
        {label: check(label) for label in 'ab'},
        repeats=2,
        warmup=0,
        context=Context,
        clock=machine.clock,
    )
    assert times == {'a': [1, 1], 'b': [1, 1]} and open_now == []


def test_medians_quartiles_and_paired_ratios_by_hand():
    times = {'BN': [1.0, 2.0, 4.0, 8.0, 16.0], 'x': [2.0, 2.0, 2.0, 4.0, 40.0]}
    found = summarize_times(times, 'BN')
    x = found['x']
    assert (x.seconds, x.seconds_q1, x.seconds_q3) == (2.0, 2.0, 4.0)
    assert x.ratio == 0.5  # 2 / 4
    assert (x.ratio_q1, x.ratio_q3) == (0.5, 2.0)  # of 0.5, 0.5, 1, 2, 2.5
    assert x.rounds == 5
    assert (found['BN'].ratio, found['BN'].ratio_q1, found['BN'].ratio_q3) == (1, 1, 1)
    assert summarize_times({'BN': [3.0]}, 'BN')['BN'].seconds_q3 == 3.0


@pytest.mark.parametrize('cost', [1e-6, 3e-4, 0.004, 0.2])
def test_a_short_call_is_repeated_until_a_clock_can_tell(cost):
    machine = Machine(a=cost)
    number = choose_number(machine.calls['a'], at_least=0.005, clock=machine.clock)
    assert number * cost >= 0.005 * (1 - 1e-9)
    assert number == 1 or number * cost <= 0.02


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(repeats=0), 'repeats must be 1 or more, got 0'),
        (dict(warmup=-1), 'warmup must be 0 or more, got -1'),
        (dict(settle=-1), 'settle must be 0 or more, got -1'),
        (dict(number=0), 'number must be 1 or more, got 0'),
        (dict(calls={}), 'at least one callable'),
        (dict(device='meta'), "device must be 'cpu' or 'cuda', got 'meta'"),
    ],
)
def test_bad_arguments_of_the_timing(wrong, message):
    with pytest.raises(ValueError, match=message):
        time_interleaved(**{'calls': {'a': int}, **wrong})


def test_a_baseline_that_was_not_timed():
    with pytest.raises(ValueError, match="one of a, b, got 'BN'"):
        summarize_times({'a': [1.0], 'b': [1.0]}, 'BN')


N, C, SIDE = 2, 16, 20
MAP = N * C * SIDE * SIDE * 4
STATISTICS = 2 * C * 4  # BatchNorm's mean and inverse deviation
SCALAR = 64  # the loss, and a few numbers of the framework


def stack(inplace):
    return nn.Sequential(
        nn.Conv2d(8, C, 3, padding=1, bias=False), nn.BatchNorm2d(C), nn.ReLU6(inplace=inplace)
    )


def memory_of(model, wrap=lambda run: run()):
    x = torch.randn(N, 8, SIDE, SIDE)

    def forward():
        return wrap(lambda: model(x)).sum()

    forward().backward()
    model.zero_grad()
    return measure_memory(forward, torch.Tensor.backward)


@pytest.mark.parametrize('inplace', [False, True])
def test_saved_bytes_of_a_stack_by_hand(inplace):
    # Kept are the inputs of BatchNorm and of ReLU6, which in place keeps a copy of its own; the
    # output is not, since a sum needs nothing of it.
    saved, peak = memory_of(stack(inplace))
    assert 0 <= saved - (2 * MAP + STATISTICS) <= SCALAR
    # In the backward the gradients of two maps beside what is kept.
    assert 4 * MAP <= peak <= 6 * MAP


def test_what_hooks_keep_is_counted_and_not_what_they_replace():
    def halve(run):
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: t.bfloat16() if t.shape == (N, C, SIDE, SIDE) else t,
            lambda t: t.float() if t.dtype == torch.bfloat16 else t,
        ):
            return run()

    saved, _ = memory_of(stack(inplace=False), wrap=halve)
    assert 0 <= saved - (MAP + STATISTICS) <= SCALAR


def test_what_a_module_keeps_besides_autograd_is_counted():
    kept = []

    def forward():
        kept.append(torch.empty(1000))
        return torch.zeros(())

    assert 4000 <= measure_memory(forward).saved <= 4000 + SCALAR


def test_the_peak_is_the_most_at_a_time():
    def forward():
        a = torch.empty(1000)
        b = torch.empty(2000)
        del a
        c = torch.empty(500)
        del b, c
        return torch.zeros(())

    assert measure_memory(forward).peak == 12000
    assert measure_memory(forward, lambda loss: torch.empty(5000)).peak >= 20000


def test_a_write_that_breaks_off_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / 'folder' / 'result.json'
    write_json(file, {'a': 1})
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_json(file, {'a': 2})
    assert json.loads(file.read_text()) == {'a': 1}
    assert [path.name for path in file.parent.iterdir()] == ['result.json']


def test_the_environment_names_what_decides_a_time(monkeypatch):
    monkeypatch.setenv('DN_MMDET_OPS', 'aten')
    found = describe_environment()
    assert found['device'] == 'cpu' and found['cpu'] and found['torch'] == torch.__version__
    assert found['threads'] == torch.get_num_threads()
    assert found['variables']['DN_MMDET_OPS'] == 'aten' and 'PATH' not in found['variables']
    assert json.loads(json.dumps(found)) == found


def test_process_settings_hold_inside_and_end():
    threads = torch.get_num_threads()
    assert not describe_environment()['flush_denormal']
    with pytest.raises(KeyError), process_settings(threads + 1):
        inside = describe_environment()
        raise KeyError
    assert inside['flush_denormal'] and inside['threads'] == threads + 1
    after = describe_environment()
    assert not after['flush_denormal'] and after['threads'] == threads


@pytest.fixture(scope='module')
def cell():
    return benchmark_layer(LayerCase(shape=(2, 8, 32, 32), activation='ReLU6', repeats=2, warmup=0))


def test_a_layer_on_every_path(cell):
    rows = cell['rows']
    paths = available_paths(torch.empty(2, 8, 32, 32))
    assert {'reference', 'aten'} <= set(paths) and 'auto' not in paths
    assert [(row['norm'], row['path']) for row in rows] == [
        ('BN', None),
        *(('DN-B', path) for path in paths),
    ]
    assert set(cell) == {*CASE_KEYS, 'rows', 'left_out'} and cell['left_out'] == {}
    assert all(set(row) == ROW_KEYS and row['rounds'] == 2 for row in rows)
    assert rows[0]['ratio'] == rows[0]['saved_ratio'] == rows[0]['peak_ratio'] == 1
    assert all(row['seconds'] > 0 and row['ratio'] > 0 for row in rows)


def test_saved_bytes_of_a_layer(cell):
    """BN and ReLU6 keep the input, ReLU6's copy and, for what follows, the output."""
    rows = cell['rows']
    size = 2 * 8 * 32 * 32 * 4
    assert 0 <= rows[0]['saved'] - 3 * size <= 1024
    for row in rows[1:]:
        assert row['saved_ratio'] == pytest.approx(row['saved'] / rows[0]['saved'])
        # What a path keeps less or more is maps, and numbers per sample and channel.
        assert row['saved'] % size <= 4096


def test_evaluation_saves_nothing():
    case = LayerCase(shape=(2, 4, 8, 8), mode='eval', repeats=1, warmup=0)
    rows = benchmark_layer(case, ['reference'])['rows']
    assert [row['norm'] for row in rows] == ['BN', 'DN-B']
    assert all(row['saved'] is None and row['saved_ratio'] is None for row in rows)
    assert 0 <= rows[0]['peak'] - 2 * 4 * 8 * 8 * 4 <= SCALAR < rows[1]['peak'] - rows[0]['peak']


def test_a_path_that_does_not_run_is_named(monkeypatch):
    def refuse():
        raise RuntimeError('not built')

    monkeypatch.setattr('dn_mmdet.ops.backends.cpp.require', refuse)
    case = LayerCase(shape=(2, 4, 8, 8), mode='eval', repeats=1, warmup=0)
    cell = benchmark_layer(case, ['cpp', 'aten'])
    assert [row['path'] for row in cell['rows']] == [None, 'aten']
    assert cell['left_out'] == {'cpp': 'not for this input, or not built'}
    table = results_table([cell], 'input', lambda cell: 'here')
    assert table.endswith('\n\nRounds: 1. Not run: cpp (not for this input, or not built).')


def test_each_subject_runs_on_its_path_and_makes_room_for_the_next():
    seen, alive = [], []

    def subject(path):
        model = nn.Linear(1, 1)
        alive.append(weakref.ref(model))

        def step():
            seen.append(choose_path(model.weight))

        def forward():
            step()
            alive.append(sum(ref() is not None for ref in alive[:2]))
            return model(torch.zeros(1, 1)).sum()

        return Subject(path, step, forward, asked_path=path)

    subjects = {path: subject(path) for path in ('reference', 'aten')}
    case = Case(mode='eval', repeats=1, warmup=0)
    rows = measure_subjects(subjects, case, torch.device('cpu'), number=1, settle=1)
    assert seen == ['reference'] * 2 + ['aten'] * 2 + ['reference', 'aten']
    assert alive[2:] == [2, 1] and subjects == {}
    assert [row['norm'] for row in rows] == ['reference', 'aten']


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(mode='test'), "mode must be one of train, eval, got 'test'"),
        (dict(layout='NCHW'), "layout must be one of contiguous, channels_last, got 'NCHW'"),
        (dict(dtype='float8'), "dtype must be one of float32, bfloat16, float16, got 'float8'"),
        (dict(activation='GELU'), "activation must be one of ReLU6, ReLU, got 'GELU'"),
        (dict(shape=(1, 2, 3)), r'shape must be 4 numbers, each 1 or more, got \(1, 2, 3\)'),
    ],
)
def test_cases_that_do_not_exist(wrong, message):
    with pytest.raises(ValueError, match=message):
        LayerCase(**{'shape': (2, 3, 4, 4), **wrong})


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--shapes', '8x3'], "'8x3' is not of the form NxCxHxW"),
        (['--shapes', '8x3x0x4'], 'is not of the form'),
        (['--shapes', '1x3x1x1'], 'more than 1 value per channel'),
        (['--dtype', 'float8'], "invalid choice: 'float8'"),
        (['--paths', 'fast'], "invalid choice: 'fast'"),
        (['--repeats', '0'], "'0' is not a whole number, 1 or more"),
        (['--warmup', '-1'], "'-1' is not a whole number, 0 or more"),
        (['--device', 'meta'], "--device must be cpu or cuda, got 'meta'"),
        (['--device', 'abacus'], '--device abacus cannot be used'),
    ],
)
def test_bad_arguments_of_the_command(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_a_device_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(['--device', 'cuda'])
    assert '--device cuda cannot be used (' in capsys.readouterr().err


def test_the_command_with_torch_alone(tmp_path):
    """By the name that scripts of earlier versions know, which runs the one of today."""
    file = tmp_path / 'layer.json'
    code = (
        'import runpy, sys\n'
        "for name in ('mmengine', 'mmcv', 'mmdet', 'matplotlib', 'numpy', 'tqdm'):\n"
        '    sys.modules[name] = None\n'
        "runpy.run_module('dn_mmdet.ops.benchmark', run_name='__main__', alter_sys=True)\n"
    )
    arguments = ['--shapes', '2x3x4x4', '--repeats', '1', '--warmup', '0', '--paths', 'aten']
    arguments += ['--layout', 'channels_last', '--threads', '1', '--json', str(file)]
    ended = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert '| 2x3x4x4 train | DN-B | aten' in ended.stdout
    assert '[2/2] 2x3x4x4 eval, float32, channels_last' in ended.stderr
    report = json.loads(file.read_text())
    assert report['environment']['threads'] == 1
    assert [(cell['mode'], row['norm']) for cell in report['cells'] for row in cell['rows']] == [
        ('train', 'BN'),
        ('train', 'DN-B'),
        ('eval', 'BN'),
        ('eval', 'DN-B'),
    ]
    lengths = {len(line) for line in ended.stdout.splitlines() if line.startswith('|')}
    assert len(lengths) == 1


def test_the_former_name_is_the_same_command(monkeypatch, capsys):
    helps = []
    for name in ('dn_mmdet.benchmark', 'dn_mmdet.ops.benchmark'):
        monkeypatch.setattr(sys, 'argv', [name, '--help'])
        with pytest.raises(SystemExit):
            runpy.run_module(name, run_name='__main__', alter_sys=True)
        helps.append(capsys.readouterr().out)
    assert helps[0] == helps[1] and helps[0].startswith('usage: python -m dn_mmdet.benchmark ')


def test_an_interrupted_command_prints_what_it_has(tmp_path, monkeypatch, capsys):
    found = []

    def measure(case, paths):
        if found:
            raise KeyboardInterrupt
        found.append(case)
        return benchmark_layer(replace(case, repeats=1, warmup=0), ['reference'])

    monkeypatch.setattr('dn_mmdet.benchmark.__main__.benchmark_layer', measure)
    file = tmp_path / 'layer.json'
    with pytest.raises(SystemExit) as left:
        main(['--shapes', '2x3x4x4', '--json', str(file)])
    assert left.value.code == 130
    assert '2x3x4x4 train' in capsys.readouterr().out
    assert [len(cell['rows']) for cell in json.loads(file.read_text())['cells']] == [2]


def test_a_case_that_cannot_run_ends_the_command_with_a_line(monkeypatch, capsys):
    def fail(case, paths):
        raise RuntimeError('out of memory\nat length')

    monkeypatch.setattr('dn_mmdet.benchmark.__main__.benchmark_layer', fail)
    with pytest.raises(SystemExit) as left:
        main(['--shapes', '2x3x4x4', '--modes', 'eval', '--layout', 'contiguous'])
    assert left.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        'error: 2x3x4x4 eval, float32, contiguous on cpu cannot be run (out of memory): choose '
        'another shape, dtype or device.'
    )
