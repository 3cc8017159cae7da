"""A run has images, batches and steps, or is told before it begins why not."""

import re

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop, Runner
from torch import nn

from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.engine.preflight.loaders import check_loaders
from dn_mmdet.engine.preflight.planned import DatasetContent, PlannedRun
from dn_mmdet.engine.preflight.schedule import check_schedule
from dn_mmdet.engine.preflight.steps import check_steps, count_images, count_loader
from dn_mmdet.utils.errors import UserError

DEFAULT = dict(type='DefaultSampler', shuffle=True)
ENDLESS = dict(type='InfiniteSampler', shuffle=True)
GROUPS = dict(type='mmdet.AspectRatioBatchSampler', drop_last=True)
EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=2)
OPTIMIZER = dict(optimizer=dict(type='SGD', lr=0.1))
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=10)


def plan(images=32, val_images=4, launcher='none', val=None, **more):
    """A run whose data sets have been checked; ``train`` and ``val`` are more of the loaders."""
    loader = dict(batch_size=4, sampler=DEFAULT, dataset=dict(type='CocoDataset'))
    train = more.pop('train', {})
    cfg = dict(
        model=dict(type='ToyModel'),
        launcher=launcher,
        train_dataloader={**loader, **train},
        train_cfg=EPOCHS,
        val_dataloader={**loader, **(val or {})},
        val_cfg=dict(),
        optim_wrapper=OPTIMIZER,
    )
    cfg['train_dataloader'].pop(more.pop('without', None), None)
    run = PlannedRun(Config({**cfg, **more}), 'train')
    run.contents['train_dataloader.dataset'] = DatasetContent(images=images)
    run.contents['val_dataloader.dataset'] = DatasetContent(images=val_images)
    return run


def checked(run):
    with DefaultScope.overwrite_default_scope('mmengine'):
        for check in (check_loaders, check_schedule, check_steps):
            check(run)
    return run.notes


# What the run has, and what the sentence must say.
REFUSED = {
    'batch larger than the data': (
        dict(images=32, train=dict(batch_size=64, drop_last=True)),
        'nothing would be trained: train_dataloader takes 64 images .* has 32. '
        'Set train_dataloader.batch_size to 32 or less, or train_dataloader.drop_last=False.',
    ),
    'under a schedule in iterations': (
        dict(images=32, train=dict(batch_size=64, drop_last=True), train_cfg=ITERATIONS),
        'nothing would be trained',
    ),
    'grouped by aspect ratio': (
        dict(images=3, train=dict(batch_sampler=GROUPS)),
        'batch_size to 3 or less, or train_dataloader.batch_sampler.drop_last=False',
    ),
    'one more than the data': (
        dict(images=63, train=dict(batch_size=64, drop_last=True)),
        'has 63. Set train_dataloader.batch_size to 63',
    ),
    'no images': (dict(images=0), 'train_dataloader.dataset has no images'),
    'no images for an endless sampler': (
        dict(images=0, train=dict(sampler=ENDLESS), train_cfg=ITERATIONS),
        'train_dataloader.dataset has no images',
    ),
    'no images to evaluate': (
        dict(val_images=0),
        'val_dataloader.dataset has no images .*evaluate',
    ),
    'fewer than a batch to evaluate': (
        dict(val_images=3, val=dict(drop_last=True)),
        'val_dataloader.drop_last is True, .* lack 3 of the 3 images',
    ),
    'the rest is not evaluated': (
        dict(val_images=10, val=dict(drop_last=True)),
        'would lack 2 of the 10 images',
    ),
    'endless epoch': (dict(train=dict(sampler=ENDLESS)), 'EpochBasedTrainLoop, never reaches'),
    'endless evaluation': (dict(val=dict(sampler=ENDLESS)), 'val_cfg, a ValLoop, never reaches'),
    'no epochs': (
        dict(train_cfg=dict(EPOCHS, max_epochs=0)),
        'train_cfg.max_epochs is 0, not a whole number of 1 or more: nothing would be trained',
    ),
    'less than none': (dict(train_cfg=dict(EPOCHS, max_epochs=-1)), 'max_epochs is -1'),
    'half an epoch': (dict(train_cfg=dict(EPOCHS, max_epochs=2.5)), 'max_epochs is 2.5'),
    'epochs as text': (dict(train_cfg=dict(EPOCHS, max_epochs='2')), "max_epochs is '2'"),
    'epochs left out': (
        dict(train_cfg=dict(by_epoch=True)),
        "train_cfg, a EpochBasedTrainLoop, has no 'max_epochs'",
    ),
    'epochs of a schedule in iterations': (
        dict(train_cfg=dict(ITERATIONS, max_epochs=2)),
        "has an argument it does not take, 'max_epochs'",
    ),
    'no iterations': (dict(train_cfg=dict(by_epoch=False, max_iters=0)), 'max_iters is 0'),
    'which loop': (dict(train_cfg=dict(max_epochs=2)), 'train_cfg has neither type nor by_epoch'),
    'two loops': (dict(train_cfg=dict(EPOCHS, by_epoch=True)), 'train_cfg has both type and'),
    'interval of none': (
        dict(train_cfg=dict(EPOCHS, val_interval=0)),
        'train_cfg.val_interval is 0, .* set val_cfg, val_dataloader and val_evaluator to None',
    ),
    'batch of none': (dict(train=dict(batch_size=0)), 'train_dataloader.batch_size is 0, not'),
    'batch of less': (dict(val=dict(batch_size=-2)), 'val_dataloader.batch_size is -2, not'),
    'batch as text': (dict(train=dict(batch_size='8')), "train_dataloader.batch_size is '8', not"),
    'no batch size to group': (
        dict(train=dict(batch_size=None, batch_sampler=GROUPS)),
        'train_dataloader.batch_size is None',
    ),
    'no batch size at all to group': (
        dict(train=dict(batch_sampler=GROUPS), without='batch_size'),
        'has a batch_sampler, but no batch_size: set train_dataloader.batch_size',
    ),
    'no sampler': (
        dict(without='sampler'),
        'train_dataloader has no sampler: add sampler=dict.type=.DefaultSampler., shuffle=True',
    ),
    'batch of true': (dict(train=dict(batch_size=True)), 'batch_size is True, not'),
    'evaluation from below none': (
        dict(train_cfg=dict(EPOCHS, val_begin=-1)),
        'train_cfg.val_begin is -1, not',
    ),
    'less than no workers': (
        dict(train=dict(num_workers=-1)),
        'train_dataloader.num_workers is -1',
    ),
    'workers that stay': (
        dict(train=dict(num_workers=0, persistent_workers=True)),
        'train_dataloader.persistent_workers is True, but train_dataloader.num_workers is 0: set '
        'train_dataloader.persistent_workers=False or a number of workers',
    ),
    'workers that fetch': (
        dict(val=dict(prefetch_factor=2)),
        'val_dataloader.prefetch_factor is 2, but .* set val_dataloader.prefetch_factor=None',
    ),
    'sampler and shuffle': (
        dict(train=dict(shuffle=True)),
        'train_dataloader cannot be built: sampler option is mutually exclusive with shuffle',
    ),
    'batch sampler and drop_last': (
        dict(train=dict(batch_sampler=GROUPS, drop_last=True)),
        'train_dataloader cannot be built: batch_sampler option is mutually exclusive',
    ),
    'unknown argument': (
        dict(train=dict(batchsize=2)),
        "train_dataloader cannot be built: .*unexpected keyword argument 'batchsize'",
    ),
    'unknown argument of the sampler': (
        dict(train=dict(sampler=dict(DEFAULT, shufle=True))),
        "unexpected keyword argument 'shufle'",
    ),
    'no sampler for many processes': (
        dict(train=dict(sampler=None), launcher='pytorch'),
        'train_dataloader.sampler is None, so that every process would get all images',
    ),
    'rate as text': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr='0.1'))),
        "optim_wrapper.optimizer.lr is '0.1', not a number",
    ),
    'rate of no number': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=float('nan')))),
        'optim_wrapper.optimizer.lr is nan',
    ),
    'rate below none': (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=-1))), 'lr is -1'),
    'updates never': (
        dict(optim_wrapper=dict(OPTIMIZER, accumulative_counts=0)),
        'accumulative_counts is 0',
    ),
    'scaled by none': (
        dict(auto_scale_lr=dict(enable=True, base_batch_size=0)),
        'auto_scale_lr.base_batch_size is 0, not a positive number',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_refused(case):
    more, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        checked(plan(**more))


class EndlessLoop(BaseLoop):
    def __init__(self, runner, dataloader, evaluator):
        pass

    def run(self):
        pass


# Nothing wrong, or something that is only worth knowing.
NOTES = {
    'all is well': (dict(), None),
    'a batch as large as the data': (dict(train=dict(batch_size=32, drop_last=True)), None),
    'a larger one that is not dropped': (dict(train=dict(batch_size=64)), None),
    'an endless sampler fills it': (
        dict(train=dict(sampler=ENDLESS, batch_size=64, drop_last=True), train_cfg=ITERATIONS),
        'default_hooks.checkpoint.by_epoch',
    ),
    'all are evaluated': (dict(val_images=8, val=dict(drop_last=True)), None),
    'a data set that is not known': (dict(images=None, val_images=None), None),
    'no loop to evaluate': (dict(val_cfg=None, val=dict(batch_size=0)), None),
    'whole epochs as a float': (dict(train_cfg=dict(EPOCHS, max_epochs=2.0)), None),
    'in the same order': (dict(train=dict(sampler=None)), 'come in the same order'),
    'shuffled by torch': (dict(train=dict(sampler=None, shuffle=True)), None),
    'in the same order to evaluate': (dict(val=dict(sampler=None)), None),
    'batches of a sampler of its own': (
        dict(
            train=dict(
                sampler=None,
                batch_sampler=dict(type='mmdet.MultiDataAspectRatioBatchSampler', num_datasets=2),
                batch_size=[4, 4],
            )
        ),
        None,
    ),
    'not scaled': (dict(auto_scale_lr=dict(enable=False, base_batch_size=0)), None),
    'evaluated at the end': (dict(train_cfg=dict(EPOCHS, val_begin=2)), None),
    'converted to iterations': (
        dict(
            train_cfg=ITERATIONS,
            default_hooks=dict(checkpoint=dict(by_epoch=False)),
            param_scheduler=dict(type='MultiStepLR', milestones=[1], convert_to_iter_based=True),
        ),
        None,
    ),
    'evaluated too late': (
        dict(
            train_cfg=dict(EPOCHS, val_begin=3),
            default_hooks=dict(checkpoint=dict(save_best='auto')),
        ),
        "val_begin is 3, but the run ends after epoch 2: .*save_best='auto' keeps nothing",
    ),
    'not evaluated': (
        dict(val_cfg=None, default_hooks=dict(checkpoint=dict(save_best='auto'))),
        'val_cfg is None, so nothing is evaluated',
    ),
    'epochs of a schedule in iterations': (
        dict(
            train_cfg=ITERATIONS,
            default_hooks=dict(checkpoint=dict(by_epoch=False)),
            param_scheduler=dict(type='MultiStepLR', milestones=[1]),
        ),
        'param_scheduler.by_epoch is not False, but train_cfg counts iterations',
    ),
    'long warm-up': (
        dict(param_scheduler=[dict(type='LinearLR', by_epoch=False, end=500)]),
        'param_scheduler.0 warms up until iteration 500, but the run has 16: ',
    ),
    'warm-up that fits': (
        dict(param_scheduler=[dict(type='LinearLR', by_epoch=False, end=16)]),
        None,
    ),
    'no warm-up': (
        dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=500, end=500)]),
        None,
    ),
    'updated once': (
        dict(optim_wrapper=dict(OPTIMIZER, accumulative_counts=17)),
        'accumulative_counts is 17, but the run has 16 iterations: the weights are updated once',
    ),
    'rate of none': (
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0))),
        'optim_wrapper.optimizer.lr is 0, so training leaves',
    ),
    'one image alone': (
        dict(images=33),
        'the last batch of an epoch is a single image .33 images, 4 a step.*drop_last=True',
    ),
    'a number of batches that is given': (
        dict(train=dict(batch_size=64, drop_last=True, num_batch_per_epoch=1)),
        None,
    ),
    'an endless sampler evaluates what it will': (
        dict(
            val_cfg=dict(type=EndlessLoop), val_images=3, val=dict(sampler=ENDLESS, drop_last=True)
        ),
        None,
    ),
    'fewer than a batch are evaluated': (dict(val_images=3), None),
    'late warm-up': (
        dict(param_scheduler=[dict(type='LinearLR', by_epoch=False, begin=10, end=500)]),
        None,
    ),
    'batches of one image': (dict(images=33, train=dict(batch_size=1)), None),
    'one image alone, endlessly': (
        dict(
            images=33,
            train=dict(sampler=ENDLESS),
            train_cfg=ITERATIONS,
            default_hooks=dict(checkpoint=None),
        ),
        None,
    ),
    'one image alone, left out': (dict(images=33, train=dict(drop_last=True)), None),
}


@pytest.mark.parametrize('case', NOTES)
def test_noted(case):
    more, words = NOTES[case]
    run = plan(**more)
    run.model = nn.BatchNorm2d(4)
    notes = checked(run)
    assert len(notes) == (words is not None), notes
    if words:
        assert re.search(words, notes[0])


def test_images_in_their_order_make_batches_too():
    with pytest.raises(UserError, match='nothing would be trained'):
        checked(plan(images=3, train=dict(sampler=None, drop_last=True)))


def test_a_test_has_no_schedule():
    run = plan(optim_wrapper=dict(optimizer=dict(type='SGD', lr='0.1')))
    run.mode = 'test'
    assert checked(run) == []


def test_one_image_alone_matters_to_a_batch_norm_that_learns():
    def notes(model):
        run = plan(images=33)
        run.model = model
        return checked(run)

    class Frozen(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    assert notes(nn.Sequential(nn.BatchNorm2d(4)))
    assert notes(nn.GroupNorm(1, 4)) == notes(nn.Sequential(Frozen(4))) == []


@pytest.mark.parametrize(
    'images, processes, own, batches',
    [(32, 4, 8, 2), (33, 4, 9, 2), (13, 4, 4, 1), (12, 4, 3, 0), (3, 4, 1, 0)],
)
def test_processes_share_the_images(images, processes, own, batches, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', str(processes))
    run = plan(images=images, launcher='pytorch', train=dict(drop_last=True))
    loader = run.cfg.train_dataloader
    with DefaultScope.overwrite_default_scope('mmengine'):
        count = count_loader(run, 'train', loader)
    assert (count.own, count.batches) == (own, batches)
    if batches == 0:
        with pytest.raises(UserError, match=f'in each of 4 processes .*batch_size to {own}'):
            checked(run)
    # Without rounding up, the last process has the fewest.
    loader.sampler = dict(DEFAULT, round_up=False)
    assert count_loader(run, 'train', loader).own == images // processes


@pytest.mark.parametrize('images', [1, 4, 7, 8, 9])
@pytest.mark.parametrize('drop_last', [False, True])
@pytest.mark.parametrize('grouped', [False, True])
def test_batches_are_those_of_the_real_loader(images, drop_last, grouped):
    class Pictures(list):
        def get_data_info(self, index):
            return dict(width=index % 2, height=0)

    loader = dict(batch_size=4, sampler=DEFAULT, dataset=dict(type='CocoDataset'))
    if grouped:
        loader['batch_sampler'] = dict(GROUPS, drop_last=drop_last)
    else:
        loader['drop_last'] = drop_last
    run = plan(images=images, train=loader)
    with DefaultScope.overwrite_default_scope('mmengine'):
        count = count_loader(run, 'train', run.cfg.train_dataloader)
        real = Runner.build_dataloader({**loader, 'dataset': Pictures(range(images))})
    assert count.batches == len(real) == len([*real])


def wrapped(kind, inner, **more):
    return dict(
        type=kind,
        **({'datasets': inner} if isinstance(inner, list) else {'dataset': inner}),
        **more,
    )


COCO = dict(type='CocoDataset')


@pytest.mark.parametrize(
    'dataset, number',
    [
        (COCO, 5),
        (dict(COCO, indices=3), 3),
        (dict(COCO, indices=-3), 3),
        (dict(COCO, indices=9), 5),
        (dict(COCO, indices=0), 0),
        (dict(COCO, indices=[4, -5, 4]), 3),
        (wrapped('RepeatDataset', COCO, times=3), 15),
        (wrapped('RepeatDataset', COCO, times=0), 0),
        (wrapped('RepeatDataset', COCO, times=-1), 0),
        (wrapped('Unknown', [COCO, COCO]), None),
        (wrapped('ConcatDataset', [COCO, dict(COCO, indices=2)]), 7),
        (wrapped('mmdet.ConcatDataset', [COCO, COCO]), 10),
        (wrapped('mmdet.MultiImageMixDataset', COCO), 5),
        (wrapped('ClassBalancedDataset', COCO, oversample_thr=0.1), None),
        (wrapped('ClassBalancedDataset', dict(COCO, indices=0), oversample_thr=0.1), 0),
        (wrapped('RepeatDataset', wrapped('ConcatDataset', [COCO, COCO]), times=2), 20),
        (wrapped('ConcatDataset', [COCO, dict(type='Unknown')]), None),
        ([1, 2, 3], None),
    ],
)
def test_images_of_wrapped_data_sets(dataset, number):
    run = plan(images=5)

    def fill(cfg, key):
        if isinstance(cfg, dict) and cfg['type'] == 'CocoDataset':
            run.contents[key] = DatasetContent(images=5)
        for name, inner in cfg.items() if isinstance(cfg, dict) else ():
            for i, part in enumerate(inner) if name == 'datasets' else ():
                fill(part, f'{key}.datasets.{i}')
            if name == 'dataset':
                fill(inner, f'{key}.dataset')

    fill(dataset, 'd')
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert count_images(run, dataset, 'd') == number


def test_indices_beyond_the_data():
    with pytest.raises(UserError, match='d.indices has 5, but the data set has 5 images'):
        run = plan()
        run.contents['d'] = DatasetContent(images=5)
        count_images(run, dict(COCO, indices=[0, 5]), 'd')


def test_samplers_that_are_not_known_are_left_alone():
    """They need more of the data set than its length; their loaders are checked all the same."""
    sampler = dict(type='mmdet.MultiSourceSampler', batch_size=4, source_ratio=[1, 1])
    assert checked(plan(images=2, train=dict(sampler=sampler, drop_last=True))) == []
    batches = dict(type='mmdet.MultiDataAspectRatioBatchSampler', num_datasets=2)
    assert checked(plan(images=2, train=dict(batch_sampler=batches, batch_size=[4, 4]))) == []
    with pytest.raises(UserError, match='persistent_workers is True'):
        checked(plan(train=dict(sampler=sampler, persistent_workers=True)))


@pytest.mark.parametrize(
    'options, words',
    [
        (['train_dataloader.batch_size=9'], 'Set train_dataloader.batch_size to 8 or less'),
        (['train_dataloader.dataset.indices=0'], 'train_dataloader.dataset has no images'),
        (['train_cfg.max_epochs=0'], 'train_cfg.max_epochs is 0'),
        (['max_epochs=3'], 'set train_cfg.max_epochs'),
    ],
)
def test_the_tool_refuses(options, words, place, refused):
    """The digits' configuration drops a batch that is not full; eight images are there."""
    sentence = refused('train.py', 'tiny.py', '--cfg-options', *options, folder=place)
    assert words in sentence


def test_another_folder_for_all_data(place):
    (place / 'data').rename(place / 'elsewhere')
    with pytest.raises(UserError, match='data/ does not exist'):
        run_preflight(load_config('tiny.py'), 'train')
    assert run_preflight(load_config('tiny.py', {'data_root': 'elsewhere'}), 'train') == []
