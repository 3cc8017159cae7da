"""Whole models side by side: one tiny run, and what is made of results."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from dn_mmdet.benchmark.models import (
    LIMITS,
    NORMS,
    PRESETS,
    ModelCase,
    check_limits,
    grid,
    run_benchmark,
)
from dn_mmdet.benchmark.models.build import build_subject
from dn_mmdet.benchmark.models.measure import measure_case, time_training_steps
from dn_mmdet.benchmark.models.report import limits_table, plot_ratios, write_report
from dn_mmdet.benchmark.models.results import ResultFile
from dn_mmdet.layers import DNB
from dn_mmdet.paths import configs_root, tools_root
from dn_mmdet.utils.errors import UserError
from tests.helpers.benchmark_results import measured, results, row

CPU = torch.device('cpu')
ROOT = Path(__file__).parents[2]
ROW_KEYS = {
    'norm',
    'path',
    'seconds',
    'seconds_q1',
    'seconds_q3',
    'ratio',
    'ratio_q1',
    'ratio_q3',
    'rounds',
    'saved',
    'saved_ratio',
    'peak',
    'peak_ratio',
}
TINY = dict(batches=(2,), sizes=(32,), layouts=('contiguous',), repeats=1, warmup=0)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Folder of a run on MobileNetV2 of a few seconds."""
    out = tmp_path_factory.mktemp('benchmark')
    run_benchmark(grid(norms=('DNB', 'naive'), **TINY), out)
    return out


def test_files_of_a_run(run):
    found = json.loads((run / 'benchmark.json').read_text())
    assert found['environment']['flush_denormal'] and found['environment']['code']
    assert [cell['mode'] for cell in found['cells']] == ['train', 'eval']
    for cell in found['cells']:
        assert cell['norms'] == ['BN', 'DNB', 'naive'] and cell['left_out'] == {}
        assert [each['norm'] for each in cell['rows']] == cell['norms']
        assert all(set(each) == ROW_KEYS for each in cell['rows'])
        bn, dnb, naive = cell['rows']
        assert bn['path'] is None and dnb['path'] in ('aten', 'cpp')
        assert naive['path'] == 'reference'
        assert bn['ratio'] == bn['peak_ratio'] == 1
        # In the evaluation of so small a model the most that both hold is the same.
        assert naive['peak'] > bn['peak'] or (cell['mode'], naive['peak']) == ('eval', bn['peak'])
    train, evaluation = found['cells']
    # The naive layer keeps the normalized map too.
    assert train['rows'][2]['saved'] > 1.2 * train['rows'][0]['saved']
    assert all(each['saved'] is None for each in evaluation['rows'])
    text = (run / 'benchmark.md').read_text()
    assert '## mbv2: training step' in text and '| DN-B, naive ' in text
    assert 'not run: 1 rounds' not in text and 'not run: not measured' in text
    # One batch size is no line.
    assert not (run / 'ratios.png').exists()


def test_a_finished_cell_is_not_measured_again(run, monkeypatch, capsys):
    monkeypatch.setattr('dn_mmdet.benchmark.models.run.measure_case', None)
    before = (run / 'benchmark.json').read_bytes()
    assert run_benchmark(grid(norms=('DNB', 'naive'), **TINY), run)
    assert capsys.readouterr().out.count('there already') == 2
    assert (run / 'benchmark.json').read_bytes() == before


def test_an_interrupted_run_keeps_what_is_finished(tmp_path, monkeypatch):
    seen = []

    def measure(cell, device, progress):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(cell)
        return measured(cell, DNB=0.9)

    monkeypatch.setattr('dn_mmdet.benchmark.models.run.measure_case', measure)
    cells = grid(layouts=('contiguous',))
    with pytest.raises(KeyboardInterrupt, match='1 cases are in .*benchmark.json; the same'):
        run_benchmark(cells, tmp_path)
    seen[:] = ['another start']
    monkeypatch.setattr(
        'dn_mmdet.benchmark.models.run.measure_case',
        lambda cell, *_: seen.append(cell) or measured(cell, DNB=0.8),
    )
    run_benchmark(cells, tmp_path)
    assert seen[1:] == [cells[1]]
    ratios = [
        cell['rows'][1]['ratio']
        for cell in json.loads((tmp_path / 'benchmark.json').read_text())['cells']
    ]
    assert ratios == [0.9, 0.8]


def test_other_rounds_or_norms_measure_a_cell_again(tmp_path):
    cell = ModelCase(norms=('DNB',), repeats=9)
    found = results(tmp_path, measured(cell, DNB=0.9))
    assert found.find(cell)['rows'][1]['ratio'] == 0.9
    assert found.find(ModelCase(norms=('BN', 'DNB'), repeats=9))
    for other in (
        ModelCase(norms=('DNB',), repeats=15),
        ModelCase(norms=('GN',)),
        ModelCase(norms=('DNB',), optimizer=True),
        ModelCase(norms=('DNB',), compile=True),
        ModelCase(norms=('DNB',), batch=4),
    ):
        assert found.find(other) is None
    found.add(measured(ModelCase(norms=('DNB',), repeats=15), DNB=0.7))
    again = results(tmp_path)
    assert len(again.cells) == 1 and again.at(*cell.place)['rows'][1]['ratio'] == 0.7


def test_results_of_another_environment_are_set_aside(tmp_path):
    cell = ModelCase()
    results(tmp_path, measured(cell))
    found = results(tmp_path, threads=1)
    assert found.cells == [] and found.set_aside.parent == tmp_path
    assert len(json.loads(found.set_aside.read_text())['cells']) == 1


def test_the_shipped_results_are_read_and_reported(tmp_path):
    """A file of its own environment continues, and its report is what stands in docs/."""
    file = tmp_path / 'benchmark.json'
    shutil.copy(ROOT / 'docs/results/benchmark/benchmark.json', file)
    found = ResultFile(file, json.loads(file.read_text())['environment'])
    assert found.set_aside is None and len(found.cells) == len(PRESETS['cpu'])
    assert all(found.find(case) for case in PRESETS['cpu'])
    assert write_report(found, tmp_path) == (file.parent / 'benchmark.md').read_text()
    page = ROOT / 'docs/results/benchmark/benchmark.md'
    assert (file.parent / 'benchmark.md').read_text() == page.read_text()
    assert '| cpu, eval, contiguous, float32, 8 x 224: time, DN-B / BN ' in page.read_text()


@pytest.mark.parametrize('text', ['no json', '[]', '{"environment": {}}', '{"cells": 3}'])
def test_a_foreign_file_is_left_alone(tmp_path, text):
    file = tmp_path / 'benchmark.json'
    file.write_text(text)
    with pytest.raises(UserError, match='is not a result of this benchmark'):
        results(tmp_path)
    assert file.read_text() == text


def test_limits_that_are_met_and_missed(tmp_path):
    place = dict(layout='contiguous', mode='train')
    cell = measured(ModelCase(**place), DNB=0.75)
    cell['rows'] += [
        row('DNB-recompute', 1.3, saved_ratio=0.41),
        row('DNB-aten', 1.11),
        row('DNB-unfolded', saved_ratio=1.005),
    ]
    found = results(tmp_path, cell)
    verdicts = {
        (limit.norm, limit.quantity): verdict
        for limit, _, verdict in check_limits(found)
        if limit.place == ModelCase(**place).place
    }
    assert verdicts == {
        ('DNB', 'ratio'): 'met',
        ('DNB', 'saved_ratio'): 'missed',
        ('DNB-unfolded', 'ratio'): 'missed',
        ('DNB-unfolded', 'saved_ratio'): 'met',
        ('DNB-recompute', 'saved_ratio'): 'missed',
        ('DNB-aten', 'ratio'): 'missed',
    }
    others = [
        verdict
        for limit, value, verdict in check_limits(found)
        if limit.place != ModelCase(**place).place
    ]
    assert others and all(verdict.startswith('not run: ') for verdict in others)
    table = limits_table(found)
    text = 'cpu, train, contiguous, float32, 8 x 224: time, DN-B / BN'
    assert (text, '0.750', '0.75', 'met') in table
    assert len(table) == len(LIMITS) + 1


@pytest.mark.parametrize(
    'cell, environment, why',
    [
        (measured(ModelCase(), DNB=0.5), dict(threads=4), '4 threads, 2 are needed'),
        (
            dict(measured(ModelCase()), rows=[row('BN'), row('DNB', rounds=8)]),
            {},
            '8 rounds, at least 9',
        ),
        (dict(measured(ModelCase()), left_out={'DNB': 'no such layer'}), {}, 'no such layer'),
        (measured(ModelCase(batch=4), DNB=0.5), {}, 'not measured'),
        (measured(ModelCase(), DNB=0.5), dict(device='NVIDIA'), 'not on cpu'),
    ],
)
def test_limits_that_cannot_be_checked(tmp_path, cell, environment, why):
    _, value, verdict = check_limits(results(tmp_path, cell, **environment))[0]
    assert value is None and verdict.startswith('not run: ') and why in verdict


def test_every_limit_has_its_case_in_a_preset():
    for limit in LIMITS:
        cells = [cell for cell in PRESETS[limit.device] if cell.place == limit.place]
        assert len(cells) == 1 and limit.norm in cells[0].norms and cells[0].repeats >= 9
    for cells in PRESETS.values():
        assert len({cell.place for cell in cells}) == len(cells)
    # On two quiet cores, by the guess that the time left starts from.
    assert sum(cell.cost for cell in PRESETS['cpu']) < 600


def test_the_picture_has_a_panel_for_each_resolution(tmp_path):
    cells = [
        measured(cell, DNB=0.9, SEBN=1.5)
        for cell in grid(layouts=('contiguous',), batches=(1, 8), sizes=(64, 96))
    ]
    file = tmp_path / 'ratios.svg'
    assert plot_ratios(results(tmp_path, *cells), file)
    text = file.read_text()
    for words in ('training step at 64', 'evaluation at 96', 'SE + BN', 'batch size'):
        assert f'<!-- {words} -->' in text
    assert 'GroupNorm' not in text
    assert not plot_ratios(results(tmp_path / 'other', cells[0]), tmp_path / 'no.png')


@pytest.mark.parametrize(
    'norm, fold, path',
    [
        ('DNB', True, 'auto'),
        ('DNB-unfolded', False, 'auto'),
        ('DNB-recompute', 'recompute', 'auto'),
        ('DNB-aten', True, 'aten'),
        ('naive', False, 'reference'),
    ],
)
def test_what_a_norm_means(norm, fold, path, monkeypatch):
    built = []
    from dn_mmdet.backbones import MobileNetV2DN

    monkeypatch.setattr(
        'dn_mmdet.benchmark.models.build.MobileNetV2DN',
        lambda **kwargs: built.append(MobileNetV2DN(**kwargs, num_blocks=(1,) * 7)) or built[-1],
    )
    build_subject(ModelCase(batch=1, size=32, mode='eval'), norm, CPU)
    assert built[0].fold_activation == fold and NORMS[norm].path == path
    assert isinstance(built[0].conv1.norm, DNB)


def test_a_model_may_be_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, 'compile', lambda self, **how: compiled.append((self, how)), raising=False
    )
    for compile_ in (False, True):
        case = ModelCase(batch=1, size=32, mode='eval', width=0.25, compile=compile_)
        subject = build_subject(case, 'DNB', CPU)
    assert compiled == [(subject.model, dict(dynamic=False))]
    assert case.name.endswith('float32, width 0.25, compiled')


def test_a_detector_trains_on_boxes_and_an_optimizer_may_step():
    config = str(configs_root() / 'digits/ssdlite_mbv2_dnb_digits.py')
    for optimizer in (False, True):
        subject = build_subject(
            ModelCase(model=config, batch=2, size=64, optimizer=optimizer), 'BN', CPU
        )
        loss = subject.forward()
        assert loss.requires_grad and 1 < loss.item() < 1000
        subject.step()
    outputs = build_subject(
        ModelCase(model=config, mode='eval', batch=2, size=64), 'SEBN', CPU
    ).forward()
    assert len(outputs) == 2 and not outputs[0][0].requires_grad


def test_models_that_cannot_be_measured(tmp_path):
    def config(text):
        (tmp_path / 'config.py').write_text(text)
        return ModelCase(
            model=str(tmp_path / 'config.py'), batch=1, size=32, norms=('DNB-recompute',)
        )

    with pytest.raises(UserError, match='there is no configuration file'):
        measure_case(ModelCase(model='missing.py'), CPU)
    with pytest.raises(UserError, match='no model.backbone'):
        measure_case(config("model = dict(type='ImageClassifier')"), CPU)
    resnet = (
        "dict(type='mmdet.ResNet', depth=18, base_channels=4, out_indices=(3,), norm_eval=False)"
    )
    cell = config(
        f"model = dict(type='ImageClassifier', backbone={resnet}, num_classes=5, in_channels=32)"
    )
    # One value per channel in the last stage.
    with pytest.raises(UserError, match='batch 1 at 32.*does not run .*more than 1 value'):
        measure_case(cell, CPU)
    found = measure_case(
        ModelCase(
            model=cell.model, mode='eval', batch=1, size=32, norms=cell.norms, repeats=1, warmup=0
        ),
        CPU,
    )
    assert found['left_out'] == {'DNB-recompute': 'mmdet.ResNet folds no activation into its norms'}
    assert [each['norm'] for each in found['rows']] == ['BN']


def test_a_model_takes_one_step_untimed_before_each_that_is_timed(monkeypatch):
    asked = {}

    def time(calls, **how):
        asked.update(how, labels=list(calls))
        return {label: [1.0] for label in calls}

    monkeypatch.setattr('dn_mmdet.benchmark.measure.time_interleaved', time)
    case = ModelCase(batch=2, size=32, mode='eval', norms=('naive',), repeats=7, warmup=2)
    measure_case(case, CPU)
    assert asked['labels'] == ['BN', 'naive']
    assert {name: asked[name] for name in ('repeats', 'warmup', 'number', 'settle')} == dict(
        repeats=7, warmup=2, number=1, settle=1
    )


def test_a_device_that_cannot_be_used(tmp_path):
    for device in ('abacus', 'meta', *(() if torch.cuda.is_available() else ('cuda',))):
        with pytest.raises(UserError, match=f'--device .*{device}'):
            run_benchmark([], tmp_path, device=device)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tool(monkeypatch):
    """Run benchmark.py with a command line; the status that it leaves with, and what it runs."""
    calls = []

    def run(*arguments, met=True):
        monkeypatch.setattr(
            'dn_mmdet.benchmark.models.run_benchmark', lambda *args: calls.append(args) or met
        )
        monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(tools_root() / 'analysis_tools/benchmark.py'), run_name='__main__')
        return left.value.code, calls[-1] if calls else None

    return run


def test_the_command_line(tool):
    status, (cells, out, device, threads, report) = tool(
        '--batch',
        '2',
        '4',
        '--size',
        '64',
        '--modes',
        'train',
        '--norms',
        'DNB',
        '--repeats',
        '3',
        '--out',
        'here',
        '--dtype',
        'bfloat16',
        '--optimizer',
        '--compile',
    )
    assert status == 0 and (out, device, threads, report) == ('here', 'cpu', None, 'benchmark')
    assert cells == grid(
        batches=(2, 4),
        sizes=(64,),
        modes=('train',),
        norms=('BN', 'DNB'),
        dtypes=('bfloat16',),
        repeats=3,
        optimizer=True,
        compile=True,
    )
    for preset in PRESETS:
        _, (cells, _, device, threads, report) = tool('--preset', preset)
        assert cells == PRESETS[preset] and threads == (None if preset == 'cuda' else 2)
        assert device == ('cuda' if preset == 'cuda' else 'cpu')
        assert report == ('growth' if preset == 'growth' else 'benchmark')
    assert tool('--preset', 'cpu', '--check', met=False)[0] == 1
    assert tool('--preset', 'cpu', met=False)[0] == 0


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--preset', 'cpu', '--batch', '2'), '--preset says what is measured: leave out --batch'),
        (('--preset', 'growth', '--threads', '1'), 'leave out --threads and --check'),
        (('--preset', 'growth', '--check'), 'leave out --threads and --check'),
        (('--norms', 'BatchNorm'), "invalid choice: 'BatchNorm'"),
        (('--size', '-1'), "'-1' is not a whole number, 1 or more"),
        (('--batch', 'two'), "'two' is not a whole number"),
    ],
)
def test_bad_command_lines(tool, arguments, message, capsys):
    assert tool(*arguments) == (2, None)
    assert message in capsys.readouterr().err


def test_training_steps_of_models_take_turns(monkeypatch):
    class Model(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.weight = name, torch.nn.Parameter(torch.ones(()))

        def data_preprocessor(self, batch, training):
            assert training
            return dict(value=batch)

        def forward(self, value, mode):
            assert self.weight.grad is None and mode == 'loss'
            seen.append((self.name, value))
            return self.weight * value

        def parse_losses(self, loss):
            return loss, {}

    seen, done = [], []
    monkeypatch.setattr('dn_mmdet.benchmark.models.measure.MODELS.build', lambda name: Model(name))
    found = time_training_steps(
        {'a': 'A', 'b': 'B'},
        [1.0, 2.0, 3.0],
        repeats=3,
        warmup=1,
        progress=lambda *rounds: done.append(rounds),
    )
    assert set(found) == {'a', 'b'} and min(found.values()) > 0
    for name in 'AB':
        assert [value for model, value in seen if model == name] == [1.0, 2.0, 3.0, 1.0]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
