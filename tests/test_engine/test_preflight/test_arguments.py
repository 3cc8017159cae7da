"""Arguments of what a configuration names by type are told before the run, as far as is known."""

import functools

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, TRANSFORMS

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight.arguments import check_arguments
from dn_mmdet.engine.preflight.config import check_types
from dn_mmdet.engine.preflight.parts import typed_parts
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import REPOSITORY

FLIP = dict(type='RandomFlip', prob=0.5)
RESIZE = dict(type='Resize', scale=(8, 8))
COCO = dict(type='CocoDataset', ann_file='a.json')
BAD = dict(COCO, x=1)
METRIC = dict(type='CocoMetric', ann_file='a.json')
CONFIGS = ('ssdlite_mbv2_dnb_coco.py', 'digits/mbv2_dnb_digits.py')


def piped(*transforms):
    return dict(train_dataloader=dict(dataset=dict(COCO, pipeline=list(transforms))))


def wrapped(kind, **more):
    return dict(train_dataloader=dict(dataset=dict(type=kind, **more)))


def checked(cfg, mode='train', check=check_arguments):
    run = PlannedRun(Config(dict(default_scope='mmdet', val_cfg=dict(), **cfg)), mode)
    with config_scope(run.cfg):
        check(run)


REFUSED = {
    'hook': (
        dict(default_hooks=dict(timer=dict(type='IterTimerHook', priority=5, every=3))),
        "default_hooks.timer has the argument 'every', which IterTimerHook does not take: it "
        'takes none.',
    ),
    'custom hook': (
        dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='x', patients=3)]),
        "custom_hooks.0 has the argument 'patients', .*did you mean 'patience'",
    ),
    'hook lacks': (
        dict(custom_hooks=[dict(type='EarlyStoppingHook')]),
        "custom_hooks.0 lacks 'monitor', without .* set custom_hooks.0.monitor",
    ),
    'value of a hook': (
        dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='x', rule='most')]),
        'custom_hooks.0 .EarlyStoppingHook. cannot be built: ',
    ),
    'handed on to a base class': (
        piped(dict(FLIP, probability=1)),
        "pipeline.0 has the argument 'probability'",
    ),
    'unknown of a transform': (
        piped(FLIP, dict(type='Expand', ratio=1)),
        "pipeline.1 has the argument 'ratio', .*did you mean 'ratio_range'",
    ),
    'value of a transform': (
        piped(dict(FLIP, prob=2)),
        'pipeline.0 .RandomFlip. cannot be built: ',
    ),
    'transform lacks': (
        piped(RESIZE, dict(type='RandomCrop')),
        "pipeline.1 lacks 'crop_size', without",
    ),
    'transform in a transform': (
        piped(dict(type='RandomApply', transforms=[FLIP, dict(RESIZE, scales=1)])),
        "pipeline.0.transforms.1 has the argument 'scales', .*did you mean 'scale'",
    ),
    'transform in a choice': (
        piped(dict(type='RandomChoice', transforms=[[FLIP], [dict(RESIZE, x=1)]])),
        'pipeline.0.transforms.1.0 has',
    ),
    'data set, through three classes': (
        wrapped('CocoDataset', annfile='a.json'),
        "train_dataloader.dataset has the argument 'annfile', which CocoDataset does not take: "
        "did you mean 'ann_file'",
    ),
    'wrapper': (
        wrapped('RepeatDataset', dataset=COCO),
        "dataset lacks 'times', without which no RepeatDataset",
    ),
    'data set in wrappers': (
        wrapped('ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=BAD)]),
        "dataset.datasets.0.dataset has the argument 'x'",
    ),
    'metric': (
        dict(val_evaluator=[METRIC, dict(METRIC, metrics_items=['mAP'])]),
        "val_evaluator.1 has the argument 'metrics_items', .*did you mean 'metric_items'",
    ),
    'metrics of an evaluator': (
        dict(val_evaluator=dict(type='Evaluator', metrics=[dict(METRIC, annfile='b')])),
        "val_evaluator.metrics.0 has the argument 'annfile'",
    ),
    'evaluator': (
        dict(val_evaluator=dict(metrics=[METRIC], metric='x')),
        "val_evaluator has the argument 'metric', which Evaluator does not take",
    ),
    'sampler': (
        dict(train_dataloader=dict(sampler=dict(type='MultiSourceSampler', batch_size=2))),
        "train_dataloader.sampler lacks 'source_ratio'",
    ),
    'batch sampler': (
        dict(train_dataloader=dict(batch_sampler=dict(type='AspectRatioBatchSampler', last=1))),
        "train_dataloader.batch_sampler has the argument 'last'",
    ),
    'scheduler, through a mixin': (
        dict(param_scheduler=[dict(type='MultiStepLR', milestone=[1])]),
        "param_scheduler.0 has the argument 'milestone', .*did you mean 'milestones'",
    ),
    'scheduler lacks': (
        dict(param_scheduler=dict(type='MultiStepLR', by_epoch=False)),
        "param_scheduler lacks 'milestones'",
    ),
    'value of a scheduler': (
        dict(param_scheduler=[dict(type='LinearLR', start_factor=2)]),
        'param_scheduler.0 .LinearLR. cannot be built: ',
    ),
    'scheduler behind the end': (
        dict(
            param_scheduler=dict(type='ConstantLR', begin=2),
            train_cfg=dict(by_epoch=True, max_epochs=2),
        ),
        'param_scheduler .ConstantLR. cannot be built: .*end',
    ),
    'scheduler that is converted': (
        dict(param_scheduler=dict(type='ConstantLR', by_epoch=False, convert_to_iter_based=True)),
        'param_scheduler .ConstantLR. cannot be built: .*Only epoch-based',
    ),
    'optimizer': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1, momentun=0.9))),
        "optim_wrapper.optimizer has the argument 'momentun', .*did you mean 'momentum'",
    ),
    'wrapper of the optimizer': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1), clip=1)),
        "optim_wrapper has the argument 'clip', which OptimWrapper does not take",
    ),
    'visualizer': (
        dict(visualizer=dict(type='DetLocalVisualizer', vis_backend=[])),
        "visualizer has the argument 'vis_backend', .*did you mean 'vis_backends'",
    ),
    'its backend': (
        dict(visualizer=dict(vis_backends=[dict(type='LocalVisBackend', dir='x')])),
        "visualizer.vis_backends.0 has the argument 'dir'",
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case):
    cfg, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        checked(cfg)


@pytest.mark.parametrize(
    'cfg, mode',
    [
        (
            dict(
                param_scheduler=[
                    dict(type='LinearLR', begin=0, end=500, by_epoch=False),
                    dict(type='CosineAnnealingMomentum', begin=3, T_max=9, by_epoch=False),
                ],
                train_cfg=dict(by_epoch=True, max_epochs=2),
            ),
            'train',
        ),
        (dict(default_hooks=dict(timer=None, sampler=dict(type='DistSamplerSeedHook'))), 'train'),
        (dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', of_backend=1))), 'train'),
        (dict(custom_hooks=[dict(type='EMAHook', momentum=0.1)]), 'train'),
        # It asks for the visualizer of the run.
        (dict(default_hooks=dict(visualization=dict(type='DetVisualizationHook'))), 'train'),
        (
            dict(
                visualizer=dict(
                    type='Visualizer', vis_backends=[dict(type='LocalVisBackend', name='x')]
                )
            ),
            'train',
        ),
        (
            dict(visualizer=dict(type='Visualizer', vis_backends=dict(type='LocalVisBackend'))),
            'train',
        ),
        (
            dict(
                param_scheduler=dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True)
            ),
            'train',
        ),
        (
            dict(
                optim_wrapper=dict(
                    constructor='Mine', a=dict(type='SGD'), optimizer=dict(type='SGD', any=1)
                )
            ),
            'train',
        ),
        # What is not built is not looked at.
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', momentun=1))), 'test'),
        (dict(param_scheduler=[dict(type='MultiStepLR', milestone=1)]), 'test'),
        (dict(visualizer=dict(type='Visualizer', vis_backends={})), 'train'),
        (dict(test_dataloader=dict(dataset=dict(COCO, annfile=1))), 'train'),
        (dict(train_dataloader=dict(dataset=dict(COCO, annfile=1))), 'test'),
        (dict(test_evaluator=dict(METRIC, annfile=1)), 'train'),
        (piped(dict(type='Albu', transforms=[dict(type='Nothing', p=1)], keymap=None)), 'test'),
    ],
)
def test_right(cfg, mode):
    checked(cfg, mode)


class Base(Hook):
    def __init__(self, base, given=None):
        pass


class Handing(Base):
    def __init__(self, own, **kwargs):
        super().__init__(**kwargs)


class NamingItself(Base):
    def __init__(self, *args, own, **kwargs):
        super(NamingItself, self).__init__(*args, **kwargs)  # noqa: UP008 - as mmdet does


class GivingByName(Base):
    def __init__(self, own, **kwargs):
        super().__init__(base=own, **kwargs)


class GivingByPlace(Base):
    def __init__(self, own, **kwargs):
        super().__init__(own, **kwargs)


class TakingOut(Base):
    def __init__(self, own, **kwargs):
        kwargs.pop('other', None)
        super().__init__(**kwargs)


class Perhaps(Base):
    def __init__(self, own, **kwargs):
        if own:
            super().__init__(own)
        else:
            super().__init__(**kwargs)


class Keeping(Base):
    def __init__(self, own, **kwargs):
        self.kwargs = kwargs


class KeepingAsWell(Base):
    def __init__(self, own, **kwargs):
        super().__init__(own)
        self.kwargs = kwargs


class Ignoring(Base):
    def __init__(self, own, **kwargs):
        super().__init__(own)


class Skipping(Base):
    def __init__(self, own, **kwargs):
        super(Base, self).__init__(**kwargs)


def renames(function):
    @functools.wraps(function)
    def wrapper(self, *args, other=None, **kwargs):
        return function(self, *args, **kwargs)

    return wrapper


class Renamed(Base):
    @renames
    def __init__(self, own):
        pass


@functools.wraps(Base)
def made(**kwargs):
    return Base(kwargs.pop('own'))


class Made(Base):
    def __new__(cls, **kwargs):
        return super().__new__(cls)

    def __init__(self, own=1):
        pass


@pytest.mark.parametrize(
    'cls, refused, right',
    [
        (Handing, "'other', which Handing does not take", dict(base=2)),
        (Handing, "lacks 'base'", None),
        (NamingItself, "'other'", dict(base=2, given=3)),
        (GivingByName, "'other'", dict(given=3)),
        (GivingByPlace, "'other'", dict(given=3)),
        (TakingOut, None, dict(base=2, other=3)),
        (Perhaps, None, dict(base=2, other=3)),
        (Keeping, None, dict(base=2, other=3)),
        (KeepingAsWell, None, dict(other=3)),
        (Ignoring, None, dict(other=3)),
        (Skipping, None, dict(other=3)),
        (Renamed, None, dict(other=3)),
        (made, None, dict(other=3)),
        (Made, None, dict(other=3)),
    ],
)
def test_arguments_that_a_constructor_hands_on(cls, refused, right):
    if right is not None:
        checked(dict(custom_hooks=[dict(type=cls, own=1, **right)]))
    if refused:
        more = {} if 'lacks' in refused else dict(other=3, **right)
        with pytest.raises(UserError, match=refused):
            checked(dict(custom_hooks=[dict(type=cls, own=1, **more)]))


def test_what_is_not_installed():
    class Special:
        def __init__(self):
            raise RuntimeError('special is not installed')

    Special.__module__ = 'mmdet.datasets.special'
    with pytest.raises(UserError, match='cannot be built: special is not installed. Install what'):
        checked(piped(dict(type=Special)))


def test_code_of_others_is_not_run():
    class Special(Hook):
        def __init__(self):
            raise ValueError('of a run')

    checked(dict(custom_hooks=[dict(type=Special)]))
    checked(piped(dict(type='RandomApply', transforms=[dict(type=Special)])))


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('mode', ['train', 'test'])
def test_shipped_configurations(name, mode):
    cfg = load_config(f'{REPOSITORY}/configs/{name}')
    run = PlannedRun(cfg, mode)
    with config_scope(cfg):
        check_arguments(run)
        registries = {registry for _, _, registry in typed_parts(cfg)}
    assert {DATASETS, HOOKS, TRANSFORMS} < registries


@pytest.mark.parametrize(
    'cfg, words',
    [
        (
            wrapped('ConcatDataset', datasets=[dict(COCO, pipeline=[dict(type='Flop')])]),
            "dataset.datasets.0.pipeline.0.type is 'Flop'",
        ),
        (
            piped(dict(type='RandomApply', transforms=[dict(type='Flop')])),
            'dataset.pipeline.0.transforms.0.type',
        ),
        (dict(val_evaluator=dict(metrics=[dict(type='X')])), 'val_evaluator.metrics.0.type'),
        (
            dict(train_dataloader=dict(batch_sampler=dict(type='X'))),
            'train_dataloader.batch_sampler.type',
        ),
    ],
)
def test_types_within_others(cfg, words):
    with pytest.raises(UserError, match=words):
        checked(cfg, check=check_types)
