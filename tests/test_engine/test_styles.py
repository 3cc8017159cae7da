"""What the README promises holds however a configuration names its types.

In plain names the other tests have it; here with scopes and in pure Python, where types are classes
and there is no default scope.
"""

from collections import OrderedDict

import pytest
import torch
from mmengine.fileio import load
from mmengine.registry import HOOKS, MODELS, DefaultScope

from dn_mmdet import engine
from dn_mmdet.analysis.config_complexity import config_complexity
from dn_mmdet.analysis.visualize_affine import visualize_affine
from dn_mmdet.benchmark.models.build import why_not
from dn_mmdet.benchmark.models.cases import ModelCase
from dn_mmdet.engine.preflight.registries import config_scope, find_type, is_type
from dn_mmdet.engine.run import use_own_hooks
from dn_mmdet.runs import read_run
from dn_mmdet.utils.errors import UserError
from tests.helpers.styles import STYLES, write_style
from tests.helpers.tiny import write_coco, write_config


@pytest.fixture(scope='module')
def styled(tmp_path_factory):
    """A folder with the tiny data set and its configuration in each style."""
    folder = tmp_path_factory.mktemp('styled')
    write_coco(folder / 'data', train=4, val=2)
    plain = write_config(folder)
    for style in STYLES:
        write_style(plain, style)
    cfg = engine.load_config(str(write_config(folder, norm='bn', name='bn.py')))
    with config_scope(cfg):
        torch.save(MODELS.build(cfg.model).state_dict(), folder / 'bn.pth')
    return folder


@pytest.fixture(scope='module', params=STYLES[1:])
def trained(styled, request):
    """Name of a style's configuration, and the Runner that trained it with BN's weights."""
    name = f'tiny_{request.param}.py'
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(styled)
        # As in a new process: no scope is left over from another run.
        patch.setattr(DefaultScope, '_instance_dict', OrderedDict())
        options = {
            'train_cfg.max_epochs': 1,
            'load_from': 'bn.pth',
            'allow_bn_checkpoint': True,
            'visualizer.name': request.param,  # mmengine has one of each name in a process
        }
        runner = engine.train(name, amp=True, auto_scale_lr=True, cfg_options=options)
        yield name, f'work_dirs/tiny_{request.param}', runner


def test_training(trained):
    name, work_dir, runner = trained
    hooks = {type(hook).__name__ for hook in runner.hooks}
    assert {'AtomicCheckpointHook', 'InvalidLossHook', 'ResumeLRHook'} <= hooks
    assert 'CheckpointHook' not in hooks
    assert 'AmpOptimWrapper' in type(runner.optim_wrapper).__name__
    # auto_scale_lr.base_batch_size is 16, and a step has 4 images.
    assert runner.optim_wrapper.optimizer.param_groups[0]['initial_lr'] == 0.05 * 4 / 16


def test_testing(trained, styled):
    name, work_dir, _ = trained
    metrics = engine.test(
        name,
        f'{work_dir}/epoch_1.pth',
        work_dir=f'{work_dir}_tested',
        out=f'{work_dir}/predictions.pkl',
        show_dir='shown',
        tta=True,
        cfg_options={'visualizer.name': work_dir},
    )
    assert metrics['coco/bbox_mAP'] >= 0
    # mmdet's own dump leaves out the ground truth.
    predictions = load(f'{work_dir}/predictions.pkl')
    assert len(predictions) == 2 and 'gt_instances' not in predictions[0]
    assert len(list((styled / f'{work_dir}_tested').glob('*/shown/*.jpg'))) == 2
    with pytest.raises(UserError, match='has DNB where the model of .* has DNC'):
        engine.test(
            name,
            f'{work_dir}/epoch_1.pth',
            cfg_options={'model.backbone.norm_cfg.type': 'DNC'},
        )


def test_the_run_is_read_for_comparisons(trained):
    _, work_dir, _ = trained
    run = read_run(work_dir)
    assert str(run.norm) == 'DN-B (16, oup), sc_input=normalized'
    assert run.effective['train_dataloader']['dataset']['type'] == 'CocoDataset'
    assert run.effective['model']['neck']['norm_cfg']['type'] == 'BN'
    # What was saved builds again, without running the file.
    with config_scope(run.buildable('model')):
        assert find_type(MODELS, run.buildable('model').model.type)


@pytest.mark.parametrize('style', STYLES)
def test_tools(style, styled, monkeypatch):
    monkeypatch.chdir(styled)
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    name = f'tiny_{style}.py'
    assert config_complexity(name).shape == (64, 64)
    assert why_not(ModelCase(model=name, mode='train'), 'DNB-unfolded') == ''
    with config_scope(cfg := engine.load_config(name)):
        torch.save(MODELS.build(cfg.model).state_dict(), f'{style}.pth')
    found = visualize_affine(name, f'{style}.pth', ['data/val2017/000.jpg'], out=f'{style}_affine')
    assert (found / 'affine.png').is_file()


@pytest.mark.parametrize('style', STYLES)
def test_own_hooks_take_their_places(style, styled):
    cfg = engine.load_config(str(styled / f'tiny_{style}.py'))
    cfg.custom_hooks = [dict(type=cfg.default_hooks.checkpoint.type, interval=5)]
    use_own_hooks(cfg)
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'
    assert cfg.custom_hooks[0].type == 'AtomicCheckpointHook'
    del cfg.default_hooks['checkpoint']  # mmengine has one by itself
    use_own_hooks(cfg)
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'


def test_types():
    cls = HOOKS.get('CheckpointHook')
    for given in (
        'CheckpointHook',
        'mmengine.CheckpointHook',
        'mmengine.hooks.CheckpointHook',
        cls,
    ):
        assert is_type(HOOKS, given, cls)
    for given in ('AtomicCheckpointHook', 'mmdet.NoSuch', 'no.such.module', 'os', '', None, 1):
        assert not is_type(HOOKS, given, cls)
    for given in ('mmdet.NoSuch', 'no.such.module', 'os', ''):
        assert find_type(HOOKS, given) is None


PURE = """
from mmengine.config import read_base
{line}
with read_base():
    from .tiny_pure import *
model.update(dict(type={type_}))
"""


@pytest.mark.parametrize(
    'line, type_, words',
    [
        (
            'from mmdet.models import RetinaNett',
            'RetinaNett',
            'Failed to import RetinaNett from mm',
        ),
        ('from mmdett.models import RetinaNet', 'RetinaNet', "No module named 'mmdett'"),
        ('import mmdet.models as m', 'm.RetinaNett', 'Failed to import mmdet.models.RetinaNett'),
        ('', '"RetinaNet"', "registered in the scope 'mmdet'.*write 'mmdet.RetinaNet'"),
    ],
)
def test_wrong_type_in_pure_python(line, type_, words, styled, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    (styled / 'wrong.py').write_text(PURE.format(line=line, type_=type_))
    with pytest.raises(UserError, match=f'wrong.py.*{words}'):
        cfg = engine.load_config(str(styled / 'wrong.py'))
        engine.run_preflight(cfg, 'train')
