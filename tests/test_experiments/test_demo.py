"""The demonstration, with tools that leave what the real ones do and train nothing."""

import json

import pytest

from dn_mmdet.analysis import Complexity
from dn_mmdet.experiments import demo
from dn_mmdet.experiments.demo import METRICS, metrics_table, run_demo
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict
from tests.test_runs.conftest import CONFIG, TRAIN

TEST = f"""
import json, pathlib, sys
config, checkpoint, _, folder, _, out = sys.argv[1:]
print('Epoch(test) [1/2]    eta: 0:00:01', flush=True)
if pathlib.Path('broken').exists():
    sys.exit('error: the checkpoint is of another model')
pathlib.Path(out).write_text(checkpoint)
(pathlib.Path(folder) / '2026').mkdir(exist_ok=True)
value = 0.5 if 'dnb' in config else 0.4
metrics = dict.fromkeys({[*METRICS.values()]}, value)
(pathlib.Path(folder) / '2026/1.json').write_text(json.dumps(metrics))
"""
STEPS = ['pretrain BN', 'pretrain DN-B', 'train BN', 'train DN-B', 'test BN', 'test DN-B']


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in (('tools/train.py', TRAIN), ('tools/test.py', TEST)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    configs = tmp_path / 'configs/digits'
    configs.mkdir(parents=True)
    for stem in ('mbv2_bn', 'mbv2_dnb', 'ssdlite_mbv2_bn', 'ssdlite_mbv2_dnb'):
        (configs / f'{stem}_digits.py').write_text(CONFIG.format(lr=0.1, mode='ok'))
    monkeypatch.setattr('dn_mmdet.runs.launch.tools_root', lambda: tmp_path / 'tools')
    monkeypatch.setattr(demo, 'configs_root', lambda: tmp_path / 'configs')
    monkeypatch.setattr(demo, 'build_digits_coco', lambda out, preview: None)
    monkeypatch.setattr(demo, '_draw', lambda *_: None)

    def measure(rows, detectors, report):
        for row, seconds in zip_strict(rows.values(), (0.5, 0.6)):
            row.update(complexity=Complexity(1, 2), seconds=seconds)

    monkeypatch.setattr(demo, '_measure', measure)
    return tmp_path


def ended(text, how=''):
    """The steps that a line says have ended, in order."""
    lines = [line.partition('] ')[2] for line in text.splitlines() if line.endswith(')')]
    return [line.partition(':')[0] for line in lines if f': {how}' in line and 'left' not in line]


def test_what_is_done_is_not_done_again(place, capsys):
    out = run_demo(seed=3)
    told = capsys.readouterr().out
    assert ended(told) == [*STEPS, 'time a step of both', 'pictures']
    assert '[6/8] test DN-B: mAP 0.500 (' in told and '| 1.20 x' in told
    results = json.loads((out / 'results.json').read_text())
    assert results['BN'] == dict(
        seed=3,
        metrics=dict.fromkeys(METRICS.values(), 0.4),
        params=1,
        mult_adds=2,
        seconds_per_step=0.5,
    )
    assert (out / 'table.md').read_text().strip() in told
    tested = (out / 'ssdlite_mbv2_dnb_digits.pkl').read_text()
    assert tested == 'work_dirs/ssdlite_mbv2_dnb_digits/epoch_2.pth'
    run_demo(seed=3)
    assert ended(capsys.readouterr().out, 'already done') == STEPS[:4]
    run_demo(seed=4)
    told = capsys.readouterr().out
    moved = ' belongs to another configuration, seed or data set and was moved to work_dirs/'
    assert told.count(moved) == 4
    assert ended(told, 'done')[:4] == STEPS[:4]


def test_a_failure_ends_the_demonstration_and_the_same_command_goes_on(place, capsys):
    config = place / 'configs/digits/mbv2_dnb_digits.py'
    config.write_text(CONFIG.format(lr=0.1, mode='fail'))
    with pytest.raises(UserError, match='^pretrain DN-B ended with status 1: the disk is full'):
        run_demo()
    assert ended(capsys.readouterr().out) == STEPS[:2]
    config.write_text(CONFIG.format(lr=0.1, mode='ok'))
    (place / 'broken').touch()
    broken = r'_bn_digits could not be tested \(status 1, .*\): the checkpoint is of another model$'
    with pytest.raises(UserError, match=broken):
        run_demo()
    assert ended(capsys.readouterr().out) == [*STEPS[:1], *STEPS[1:5]]
    assert not (place / 'work_dirs/demo/results.json').exists()


def test_an_interrupt_says_how_to_go_on(place, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, '_measure', interrupt)
    with pytest.raises(KeyboardInterrupt, match='^the same command continues from the last checkp'):
        run_demo()
    assert '[7/8] time a step of both: interrupted (' in capsys.readouterr().out


def test_table_holds_every_metric_and_the_ratio():
    rows = {
        name: dict(
            metrics=dict.fromkeys(METRICS.values(), value),
            complexity=Complexity(1_234_567, 98_765_432),
            seconds=seconds,
        )
        for name, value, seconds in (('BN', 0.41, 0.5), ('DN-B', 0.47, 0.6))
    }
    text = metrics_table(rows)
    head, rule, bn, dnb = text.splitlines()
    assert [c.strip() for c in head.split('|')[1:-1]] == [
        'norm',
        'mAP',
        'mAP50',
        'mAP75',
        'small',
        'medium',
        'large',
        '#p',
        'Mult-Adds',
        's/iter',
    ]
    assert [c.strip() for c in dnb.split('|')[1:-1]] == [
        'DN-B',
        *['0.470'] * 6,
        '1.23M',
        '98.8M',
        '1.20 x',
    ]
    assert '1.00 x' in bn
    assert len({len(line) for line in (head, rule, bn, dnb)}) == 1
