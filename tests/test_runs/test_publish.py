"""A published checkpoint holds weights and plain metadata, and serves wherever a whole one does."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS, DefaultScope

from dn_mmdet import engine
from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.engine.config_text import evaluation_data, portable_config, portable_path
from dn_mmdet.layers.state import rekeyed
from dn_mmdet.runs import publish
from tests.helpers import torch_versions
from tests.helpers.tiny import write_classifier, write_coco, write_config, write_image_folder

TOOL = 'model_converters/publish_model.py'
AVERAGED = """
custom_hooks = [dict(type='EMAHook', momentum=0.5)]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder in which a classifier and its moving average were trained."""
    folder = tmp_path_factory.mktemp('published')
    for split in ('train', 'val'):
        write_image_folder(folder / 'crops' / split)
    config = write_classifier(folder)
    config.write_text(config.read_text() + AVERAGED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        engine.train('classifier.py', work_dir='work')
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def nothing_allowed():
    with torch_versions.nothing_allowed():
        yield


def saved(path):
    """A checkpoint as training wrote it, changed and saved again."""
    return torch.load(path, weights_only=True)


def test_whole_model(here, nothing_allowed, monkeypatch, tmp_path):
    path = publish('work/epoch_1.pth', out='out')
    data = path.read_bytes()
    assert path.name == f'classifier-{hashlib.sha256(data).hexdigest()[:8]}.pth'
    content = torch.load(path, weights_only=True)
    assert list(content) == ['meta', 'state_dict']
    meta = content['meta']
    # Plain all the way down.
    assert json.loads(json.dumps(meta)) == meta
    assert meta['dataset_meta'] == {'classes': list(load_classes(here))}
    assert (meta['epoch'], meta['iter']) == (1, 2)
    assert meta['evaluated_on'] == 'crops/val'
    assert meta['weights'] == 'whole model, exponential moving average, float32 as trained'
    assert {'dn_mmdet', 'torch', 'mmengine', 'mmcv', 'mmdet'} == set(meta['versions'])
    assert "type='DNB'" in meta['cfg']
    # No trace of this machine, wherever it is called from.
    assert str(here).encode() not in data and b'work_dir' not in data
    monkeypatch.chdir(tmp_path)
    again = publish(here / 'work/epoch_1.pth', out=tmp_path / 'elsewhere')
    assert str(here).encode() not in again.read_bytes()


def load_classes(folder):
    return sorted(os.listdir(folder / 'crops/val'))


def test_same_bytes_and_nothing_replaced(here, capsys):
    first = publish('work/epoch_1.pth', out='twice')
    before = first.stat().st_size, first.read_bytes()
    assert publish('work/epoch_1.pth', out='twice') == first
    assert (first.stat().st_size, first.read_bytes()) == before
    assert os.listdir('twice') == [first.name]
    out = capsys.readouterr().out
    assert f"init_cfg=dict(type='Pretrained', checkpoint='{first}', prefix='backbone.')" in out
    assert f'{first}: {before[0] / 1e6:.2f} MB' in out


def test_it_tests_as_the_original_does(here):
    """The weights are the averaged ones, which validation used, and so are the metrics."""
    path = publish('work/epoch_1.pth', out='tested')
    content = torch.load(path, weights_only=True)
    metrics = engine.test('classifier.py', str(path), work_dir='tested')
    assert content['meta']['metrics'] == {'accuracy/top1': metrics['accuracy/top1']}
    original = saved('work/epoch_1.pth')
    key = 'backbone.conv1.conv.weight'
    assert torch.equal(content['state_dict'][key], original['state_dict'][key])
    assert not torch.equal(content['state_dict'][key], original['ema_state_dict'][f'module.{key}'])


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_what_the_layers_say_of_themselves_is_published(prefix, here, tmp_path):
    """Of weights alone too, and of those of distributed training."""
    state = saved('work/epoch_1.pth')['state_dict']
    told = state._metadata['backbone.conv1.bn']
    assert told['norm'] == 'DNB' and told['fc2_scale'] == 1.0
    torch.save(rekeyed(state, lambda key: prefix + key), tmp_path / 'weights.pth')
    published = saved(publish(tmp_path / 'weights.pth', out=tmp_path))['state_dict']
    assert published._metadata == state._metadata and published.keys() == state.keys()


@pytest.mark.parametrize('half', [False, True])
def test_backbone_of_a_detector(half, here):
    """Every key of the backbone matches in the check before a run, and the weights arrive."""
    path = publish(
        'work/epoch_1.pth',
        out='backbones',
        backbone_only=True,
        half=half,
        name='half' if half else None,
    )
    assert path.name.startswith('half-' if half else 'classifier_backbone-')
    state = torch.load(path, weights_only=True)['state_dict']
    assert all(key.startswith('backbone.') for key in state)
    assert {key.partition('.')[0] for key in state._metadata} == {'', 'backbone'}
    assert all(value.dtype == torch.float16 for value in state.values() if value.dim() > 1) is half
    assert all(value.dtype != torch.float16 for value in state.values() if value.dim() == 1)
    assert path.stat().st_size < (3.3e6 if half else 6.2e6)

    if not (here / 'data').exists():
        write_coco(here / 'data')
    write_config(here, more='model = dict()')
    cfg = load_config('tiny.py', {'model.backbone.init_cfg.checkpoint': str(path)})
    assert run_preflight(cfg, 'train') == []
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(cfg.model)
    detector.init_weights()
    given = saved('work/epoch_1.pth')['state_dict']
    for key, value in detector.backbone.state_dict().items():
        assert value.dtype == given[f'backbone.{key}'].dtype
        if not key.endswith('num_batches_tracked'):
            torch.testing.assert_close(
                value, given[f'backbone.{key}'], rtol=0, atol=1e-3 if half else 0
            )


def test_metrics_are_those_of_its_epoch(tmp_path):
    """A checkpoint is saved before its validation and knows the metrics of the epoch before."""
    old = HistoryBuffer([np.float64(10.0)], [1])
    hub = dict(
        log_scalars={'val/accuracy/top1': old, 'val/time': old, 'train/loss': old},
        runtime_info=dict(loop_stage='train'),
    )
    content = dict(
        state_dict=dict(w=torch.ones(2)),
        message_hub=hub,
        meta=dict(epoch=2, iter=8, experiment_name='run_20200101_000000'),
    )
    torch.save(content, tmp_path / 'epoch_2.pth')

    def metrics(**options):
        path = publish(tmp_path / 'epoch_2.pth', out=tmp_path / 'out', **options)
        assert path.name.startswith('run-')
        return torch.load(path, weights_only=True)['meta']

    assert metrics()['metrics'] == {}
    (tmp_path / '20200101/vis_data').mkdir(parents=True)
    (tmp_path / '20200101/vis_data/scalars.json').write_text(
        '{"accuracy/top1": 10.0, "time": 1.0, "step": 1}\n'
        '{"accuracy/top1": 20.0, "time": 1.0, "step": 2}\n'
    )
    assert metrics()['metrics'] == {'accuracy/top1': 20.0}
    given = metrics(metrics={'coco/bbox_mAP': 0.5}, dataset='COCO 2017 val')
    assert (given['metrics'], given['evaluated_on']) == ({'coco/bbox_mAP': 0.5}, 'COCO 2017 val')
    # Saved again in the validation, as for a new best one.
    hub['runtime_info']['loop_stage'] = 'val'
    hub['log_scalars']['val/accuracy/top1'] = HistoryBuffer([np.float64(30.0)], [1])
    torch.save(content, tmp_path / 'epoch_2.pth')
    assert metrics()['metrics'] == {'accuracy/top1': 30.0}


def test_refused(here, refused, tmp_path):
    def sentence(*arguments):
        return refused(TOOL, *arguments, '--out', tmp_path / 'out', folder=tmp_path)

    assert 'gone.pth of the command line does not exist' in sentence('gone.pth')
    assert 'classifier.py cannot be read as a checkpoint' in sentence('classifier.py')
    assert 'letters, digits' in sentence('work/epoch_1.pth', '--name', '../up')

    def spoilt(name, **state):
        path = tmp_path / f'{name}.pth'
        torch.save(dict(state_dict=state), path)
        return path

    assert "has no weights under 'backbone.'" in sentence(
        spoilt('head', **{'fc.weight': torch.ones(2)}), '--backbone-only'
    )
    assert 'holds a int at n in its state_dict' in sentence(spoilt('number', w=torch.ones(2), n=1))
    path = spoilt('nan', w=torch.tensor([[0.0, torch.nan]]))
    for options in ((), ('--half',)):
        assert 'nan.pth: w holds NaN or infinite values' in sentence(path, *options)
    assert 'large.pth: w is too large for float16: omit --half' in sentence(
        spoilt('large', w=torch.tensor([[1e6]])), '--half'
    )

    (tmp_path / 'file').touch()
    assert 'cannot be written' in refused(
        TOOL, 'work/epoch_1.pth', '--out', tmp_path / 'file', folder=tmp_path
    )


def test_damaged_file_is_not_taken_for_the_published_one(here, refused, tmp_path):
    path = publish('work/epoch_1.pth', out=tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert 'is damaged: remove it' in refused(
        TOOL, 'work/epoch_1.pth', '--out', tmp_path, folder=tmp_path
    )


def test_no_absolute_path_stays(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = f"""data_root = '/mnt/sets/coco/'
load_from = '/home/someone/a.pth'
model = dict(a=1 / 2, checkpoint='{tmp_path}/work_dirs/b.pth', rule='a/b')
other = dict(path="/mnt/sets/cocoa/x.json", home='~/c.pth', windows='D:/d/e.pth')
val_evaluator = dict(ann_file='/mnt/sets/coco/annotations/val.json')
work_dir = '{tmp_path}/work_dirs/run'
"""
    assert (
        portable_config(text)
        == """data_root = 'coco/'
model = dict(a=1 / 2, checkpoint='work_dirs/b.pth', rule='a/b')
other = dict(path="x.json", home='c.pth', windows='e.pth')
val_evaluator = dict(ann_file='coco/annotations/val.json')
"""
    )
    assert portable_path('data/digits') == 'data/digits'


@pytest.mark.parametrize(
    'text, expected',
    [
        ("val_dataloader = dict(dataset=dict(data_root='d/', ann_file='a.json'))", 'd/a.json'),
        ("val_dataloader = dict(dataset=dict(dataset={'data_prefix': dict(img='v/')}))", 'v/'),
        ("val_dataloader = dict(dataset=dict(data_root=open('hacked', 'w').name))", None),
        ('val_dataloader = None', None),
        ('val_dataloader = (', None),
        ('', None),
    ],
)
def test_place_of_the_data_is_read_without_running_the_text(text, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert evaluation_data(text) == expected
    assert os.listdir(tmp_path) == []
