"""A run that has no step to make is told so, and writes no checkpoint."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler, TensorDataset

from dn_mmdet.engine.hooks.steps import watched_steps
from dn_mmdet.utils.errors import UserError
from tests.helpers.point import point_runner
from tests.helpers.tiny import snapshot

EPOCHS = dict(by_epoch=True, max_epochs=2)
ITERATIONS = dict(by_epoch=False, max_iters=4)


@DATA_SAMPLERS.register_module()
class _Once(Sampler):
    """A sampler that nobody knows."""

    def __init__(self, dataset, seed):
        self.dataset = dataset

    def __iter__(self):
        return iter(range(len(self.dataset)))

    def __len__(self):
        return len(self.dataset)


def train(runner):
    with watched_steps(runner):
        runner.train()


@pytest.mark.parametrize('train_cfg', [EPOCHS, ITERATIONS])
@pytest.mark.parametrize(
    'loader, words',
    [
        (dict(batch_size=5, drop_last=True), 'train_dataloader.dataset has 4 images, which make'),
        (
            dict(batch_size=5, drop_last=True, sampler=dict(type='_Once')),
            'there is nothing to train on: .* smaller train_dataloader.batch_size',
        ),
        (dict(dataset=TensorDataset(torch.randn(0, 4))), 'has 0 images'),
        (
            dict(dataset=TensorDataset(torch.randn(0, 4)), sampler=dict(type='InfiniteSampler')),
            'has 0 images',
        ),
    ],
)
def test_no_batch(loader, words, train_cfg, tmp_path):
    with pytest.raises(UserError, match=words):
        train(point_runner(tmp_path, loader=loader, train_cfg=train_cfg))
    assert not list(tmp_path.glob('*.pth'))


def test_a_sampler_that_begins_again_fills_its_batch(tmp_path):
    loader = dict(batch_size=5, drop_last=True, sampler=dict(type='InfiniteSampler'))
    runner = point_runner(tmp_path, loader=loader, train_cfg=ITERATIONS)
    train(runner)
    assert runner.iter == 4


class _Ended(Hook):
    runs = 0

    def after_run(self, runner):
        self.runs += 1


@pytest.mark.parametrize('train_cfg, done', [(EPOCHS, 'epoch 2'), (ITERATIONS, 'iter 4')])
def test_a_finished_run_is_resumed(train_cfg, done, tmp_path):
    train(point_runner(tmp_path, train_cfg=train_cfg))
    name = (tmp_path / 'last_checkpoint').read_text()
    before = {key: value for key, value in snapshot(tmp_path).items() if key.endswith('pth')}
    ended = _Ended()
    runner = point_runner(tmp_path, ended, train_cfg=train_cfg, resume=True, load_from=name)
    train(runner)
    after = {key: value for key, value in snapshot(tmp_path).items() if key.endswith('pth')}
    assert after == before and ended.runs == 1
    log = max(tmp_path.glob('*/*.log')).read_text()
    assert f'Nothing was trained: {name} is of {done}, and train_cfg.max_' in log
