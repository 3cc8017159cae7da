"""Detectors with a row each: what is done is not done again, what is killed goes on."""

from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import MobileNetV2

from dn_mmdet.experiments import bccd, detection, measure
from dn_mmdet.experiments.bccd import ARMS, DEFAULT_ARMS, STEMS, compare_bccd
from dn_mmdet.experiments.detection import compare_embedded
from dn_mmdet.experiments.measure import measured_rows
from dn_mmdet.layers import DNB
from dn_mmdet.layers.state import form_of
from dn_mmdet.runs.run import NormLabel
from dn_mmdet.utils.errors import UserError

# Each leaves a line in told.txt, and what the real one leaves; killed.txt names those that fail.
STUB = """
import json, pathlib, sys
name = pathlib.Path(sys.argv[0]).stem
options = dict(a.split('=', 1) for a in sys.argv[sys.argv.index('--cfg-options') + 1:])
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
run = folder if name == 'train' else folder.parent
with open('told.txt', 'a') as file:
    file.write(f'{name} {run}' + chr(10))
killed = pathlib.Path('killed.txt')
if killed.exists() and f'{name} {run}' in killed.read_text().splitlines():
    sys.exit('error: the disk is full')
"""
TRAIN = """
epochs = 30 if 'bccd' in sys.argv[1] else 4 if 'ssdlite' in sys.argv[1] else 3
file = folder / f'epoch_{int(options.get("train_cfg.max_epochs", epochs))}.pth'
file.write_text('weights')
(folder / 'last_checkpoint').write_text(str(file.resolve()))
"""
RESULTS = """
metrics = {'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.6, 'coco/RBC_precision': 0.4}
half = {key: value / 2 for key, value in metrics.items()}
found = dict(dynamic=metrics, static=half)
if name == 'corruption':
    print('fog, severity 1 (1 of 1)')
    found = dict(clean=metrics, corrupted={'fog': {'1': half}})
pathlib.Path(sys.argv[sys.argv.index('--out') + 1]).write_text(json.dumps(found))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    tools = tmp_path / 'tools/analysis_tools'
    tools.mkdir(parents=True)
    (tmp_path / 'tools/train.py').write_text(STUB + TRAIN)
    for name in ('corruption', 'static_affine'):
        (tools / f'{name}.py').write_text(STUB + RESULTS)
    monkeypatch.setattr('dn_mmdet.runs.launch.tools_root', lambda: tmp_path / 'tools')
    monkeypatch.setattr(measure, '_circumstances', lambda detector: dict(CIRCUMSTANCES))
    monkeypatch.setattr(measure, 'compare_runs', lambda folders, **_: compared.append(folders))
    for module in (bccd, detection):
        monkeypatch.setattr(module, 'check_corruptions', lambda: None)
    monkeypatch.setattr(bccd, 'run_preflight', lambda config, mode: [])
    monkeypatch.chdir(tmp_path)
    compared.clear()
    return tmp_path


compared: list = []

CIRCUMSTANCES = dict(norm='DN-B', revision='r', machine='m')


def told():
    """Which tools ran since the last call, and for which runs."""
    file = Path('told.txt')
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [line.replace('work_dirs/', '') for line in lines]


def of(arm, seed, tools=('train', 'corruption', 'static_affine')):
    return [f'{tool} bccd/{arm}/seed_{seed}' for tool in tools]


BN = ('train', 'corruption')


def test_every_run_is_measured_at_once_and_seed_after_seed(place):
    compare_bccd(seeds=[0, 1], arms=['bn', 'dnb'], workers=1)
    assert told() == [*of('bn', 0, BN), *of('dnb', 0), *of('bn', 1, BN), *of('dnb', 1)]
    rows = measured_rows('work_dirs/bccd/bccd.csv').read()
    assert [(row['arm'], row['seed']) for row in rows] == [
        (arm, seed) for seed in (0, 1) for arm in ('bn', 'dnb')
    ]
    wanted = dict(epochs=30, lr=0.02, batch_size=8, options='', mAP=0.3, AP50=0.6)
    wanted |= {'AP RBC': 0.4, 'mPC': 0.15, 'rPC': 0.5, 'fog': 0.15, 'revision': 'r'}
    for row in rows:
        assert wanted.items() <= row.items()
        assert row['weights'] == 'mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'
        assert row['static_mAP'] == (None if row['arm'] == 'bn' else 0.15)
    assert '| dnb ' in Path('work_dirs/bccd/bccd.md').read_text()
    assert [len(folders) for folders in compared] == [4]


def test_rows_of_another_machine_count_without_their_folders(place, capsys):
    compare_bccd(seeds=[0], arms=['bn'], workers=1, out='kept', checkpoint='there/w.pth')
    told()
    # The same weights elsewhere are the same run; other weights or settings are another.
    same = dict(seeds=[0], out='kept', workers=1, work_root='new')
    compare_bccd(arms=['bn'], checkpoint='here/w.pth', cfg_options={'data_root': 'a/'}, **same)
    assert told() == [] and not Path('new').exists()
    compare_bccd(arms=['bn', 'dnb'], checkpoint='here/w.pth', **same)
    assert told() == [line.replace('bccd/', 'new/') for line in of('dnb', 0)]
    assert '1 of 2 runs are rows of kept/bccd.csv alone' in capsys.readouterr().out
    assert compared == []
    compare_bccd(arms=['bn'], checkpoint='other.pth', **same)
    assert len(told()) == 2
    settings = {'optim_wrapper.weight_decay': 0.1, 'optim_wrapper.optimizer.lr': 0.08}
    compare_bccd(arms=['bn'], cfg_options=settings, checkpoint='w.pth', **same)
    assert len(told()) == 2
    last = measured_rows('kept/bccd.csv').read()[-1]
    assert last['lr'] == 0.08 and 'weight_decay=0.1' in last['options']


@pytest.mark.parametrize('tool', ['train', 'corruption', 'static_affine'])
def test_what_is_killed_goes_on_where_it_was(tool, place, capsys):
    Path('killed.txt').write_text(f'{tool} work_dirs/bccd/dnb/seed_0')
    compare_bccd(seeds=[0], arms=['dnb', 'bn'], workers=1)
    whole = ['train', 'corruption', 'static_affine']
    done = whole[: whole.index(tool)]
    # A run that fails leaves the others to run, and is told.
    assert told() == [*of('dnb', 0, [*done, tool]), *of('bn', 0, BN)]
    assert 'work_dirs/bccd/dnb/seed_0' in capsys.readouterr().out.split('0 of 2 runs are in')[1]
    Path('killed.txt').unlink()
    compare_bccd(seeds=[0], arms=['dnb', 'bn'], workers=1)
    assert told() == of('dnb', 0, whole[len(done) :])
    assert len(measured_rows('work_dirs/bccd/bccd.csv').read()) == 2


def test_an_arm_that_there_is_not_is_told_before_anything_is_written(place):
    compare_bccd(seeds=[0], arms=['bn'], workers=1)
    Path('work_dirs/bccd/bccd.md').unlink()
    with pytest.raises(UserError, match="no arm 'foo'"):
        compare_bccd(arms=['foo'], report=True)
    assert not Path('work_dirs/bccd/bccd.md').exists()


def test_a_run_that_diverged_has_a_row_that_says_so(place, monkeypatch):
    why = 'diverged: its loss is nan from iteration 7 (delete x to train it again)'
    monkeypatch.setattr(
        measure.Training, 'why_not', lambda self: why if 'dnb' in str(self.work_dir) else ''
    )
    compare_bccd(seeds=[0], arms=['bn', 'dnb'], workers=1)
    rows = measured_rows('work_dirs/bccd/bccd.csv').read()
    assert [row['diverged'] for row in rows] == [
        '',
        'diverged: its loss is nan from iteration 7',
    ]
    assert told() == of('bn', 0, BN)
    assert 'NaN' in Path('work_dirs/bccd/bccd.md').read_text()


def test_an_interrupt_says_how_to_go_on(place, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, 'run_all', interrupt)
    with pytest.raises(KeyboardInterrupt, match='finished runs are in .*the same command resumes'):
        compare_bccd(seeds=[0])


def test_bad_input_is_refused_before_anything_is_trained(place, monkeypatch):
    with pytest.raises(UserError, match="There is no arm 'best': give any of bn, bn_frozen"):
        compare_bccd(arms=['bn', 'best'])
    with pytest.raises(UserError, match="There is no arm 'best': give any of bn, dnb"):
        compare_embedded(arms=['best'])
    with pytest.raises(UserError, match='bccd.csv has no rows: there is nothing to report on'):
        compare_bccd(report=True)
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setattr(bccd, 'check_corruptions', lambda: None)
    weights = {f'backbone.{key}': value for key, value in MobileNetV2().state_dict().items()}
    torch.save(dict(state_dict=weights, meta={}), 'w.pth')
    with pytest.raises(UserError, match='the data folder nowhere/ does not exist'):
        compare_bccd(checkpoint='w.pth', cfg_options={'data_root': 'nowhere/'})
    assert not Path('work_dirs').exists()


@pytest.mark.parametrize('arm', ARMS)
def test_an_arm_is_bn_but_for_the_norm(arm):
    """Whatever the layer's default is, an arm is what its name says."""
    (found,) = bccd._detectors(Path('x'), [0], [arm], {})
    (plain,) = bccd._detectors(Path('x'), [0], ['bn'], {})
    configs = [detector.config.to_dict() for detector in (found, plain)]
    norm, _ = (config['model']['backbone'].pop('norm_cfg') for config in configs)
    frozen, _ = (config['model']['backbone'].pop('norm_eval', False) for config in configs)
    assert configs[0] == configs[1] and frozen == (arm == 'bn_frozen')
    assert norm['eps'] == 1e-5 and configs[0]['allow_bn_checkpoint']
    label = NormLabel.of(found.config.to_dict())
    kind = 'SE + BN' if arm == 'sebn' else 'BN' if arm in ('bn', 'bn_frozen') else 'DN-B'
    assert label.name == kind and label.g == (
        '' if kind != 'DN-B' else '1' if 'g1' in arm else 'oup'
    )
    if kind == 'DN-B':
        options = {key: value for key, value in norm.items() if key not in ('type', 'eps')}
        conditioned, gain = 'conditioned' in arm, 1.0
        if arm.endswith('_bn'):
            gain = 'sqrt_bn' if arm.endswith('sqrt_bn') else 'bn'
        layer = DNB(64, **options)
        normalized = DNB(
            64,
            r=16,
            g=options['g'],
            gain=gain,
            sc_input='normalized',
            parameterization='conditioned' if conditioned else 'paper',
        )
        paper = DNB(64, r=16, g=options['g'], sc_input='raw', parameterization='paper', gain=1.0)
        wanted = paper if arm in ('dnb', 'dnb_g1') else normalized
        assert form_of(layer) == form_of(wanted)
    assert {*DEFAULT_ARMS} <= {*ARMS} and {variant.arm for variant in ARMS.values()} <= {*STEMS}


def test_the_digits_are_measured_alike_and_not_pretrained_for_nothing(place, monkeypatch):
    monkeypatch.setattr(detection, 'build_digits_coco', lambda folder: None)
    settings = dict(seeds=[0], arms=['bn', 'dnb'], measure=True, workers=1, out='kept')
    compare_embedded(**settings)
    rows = measured_rows('kept/detectors.csv').read()
    assert [(row['arm'], row['weights'], row['lr']) for row in rows] == [
        ('bn', 'own', 0.05),
        ('dnb', 'own', 0.05),
    ]
    assert '# Detectors of the digits' in Path('kept/detectors.md').read_text()
    lines = told()
    assert len(lines) == 2 * 3 + 1 and len(compared) == 1
    # On another machine only what has no row is trained, with its backbone.
    compare_embedded(work_root='new', extra=True, **settings)
    lines = [line.rpartition('/')[0].split('/')[-1] for line in told() if line.startswith('train')]
    assert lines == [
        'mbv2_bn_digits',
        'ssdlite_mbv2_bn_digits_lr_x4',
        'mbv2_dnb_digits',
        'ssdlite_mbv2_dnb_digits_lr_x4',
        'ssdlite_mbv2_bn_digits_batch_2',
        'ssdlite_mbv2_dnb_digits_batch_2',
    ]
    rows = measured_rows('kept/detectors.csv').read()
    assert [(row['lr'], row['batch_size'], row['epochs']) for row in rows[2::2]] == [
        (0.2, 16, 4),
        (0.00625, 2, 1),
    ]
    # GN and DN-GN are made for small batches: with them nothing else is trained.
    compare_embedded(work_root='new', extra=True, **{**settings, 'arms': ['gn', 'dngn']})
    lines = [line.rpartition('/')[0].split('/')[-1] for line in told() if line.startswith('train')]
    assert lines == [
        f'{start}mbv2_{norm}_digits{setting}'
        for starts in ((('', ''), ('ssdlite_', '')), (('ssdlite_', '_batch_2'),))
        for norm in ('gn', 'dngn')
        for start, setting in starts
    ]
