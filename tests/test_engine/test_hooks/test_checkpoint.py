"""A killed run leaves whole checkpoints, and `last_checkpoint` names one of them."""

import logging
import math
import multiprocessing
import os
import resource
import signal

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

from dn_mmdet.engine.config import choose_resume, load_config
from dn_mmdet.engine.hooks.checkpoint import AtomicCheckpointHook
from dn_mmdet.engine.run_errors import as_user_errors
from dn_mmdet.utils.errors import UserError


@MODELS.register_module()
class _Point(BaseModel):
    def __init__(self):
        super().__init__()
        self.point = torch.nn.Linear(4, 1)

    def forward(self, samples, mode='tensor'):
        y = self.point(torch.stack(samples))
        return dict(loss=y.square().mean()) if mode == 'loss' else y


@METRICS.register_module()
class _Rising(BaseMetric):
    """A score that rises with every epoch."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=MessageHub.get_current_instance().get_info('epoch') + 1)


def runner(work_dir, **options):
    loader = dict(
        batch_size=2,
        dataset=TensorDataset(torch.ones(4, 4)),
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    checkpoint = dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1, save_best='score', rule='greater'
    )
    return Runner(
        model=dict(type='_Point'),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=options.pop('val_evaluator', dict(type='_Rising')),
        val_cfg=dict(),
        train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=checkpoint),
        experiment_name=f'{work_dir.name}{options}',
        **options,
    )


def in_a_process(function, *arguments):
    process = multiprocessing.get_context('fork').Process(target=function, args=arguments)
    process.start()
    process.join(60)
    if process.is_alive():
        process.kill()
    return process.exitcode


def train_until(work_dir, suffix, moment):
    """Train, and be killed while writing the file of a name, before or after the renaming."""
    replace = os.replace

    def kill(path):
        if str(path).endswith(suffix):
            os.kill(os.getpid(), signal.SIGKILL)

    def killed_before(source, target):
        kill(target)
        replace(source, target)

    def killed_after(source, target):
        replace(source, target)
        kill(target)

    os.replace = killed_before if moment == 'before' else killed_after
    runner(work_dir).train()


@pytest.mark.parametrize(
    'suffix, moment, last',
    [
        ('/epoch_2.pth', 'before', 1),
        ('/epoch_2.pth', 'after', 1),
        ('/best_score_epoch_2.pth', 'before', 2),
        ('/epoch_3.pth', 'before', 2),
    ],
)
def test_killed_while_saving(suffix, moment, last, tmp_path):
    assert in_a_process(train_until, tmp_path, suffix, moment) == -signal.SIGKILL
    work = tmp_path
    name = (work / 'last_checkpoint').read_text()
    assert name == str(work / f'epoch_{last}.pth')
    checkpoints = sorted(work.glob('*.pth'))
    assert work / f'epoch_{last}.pth' in checkpoints
    assert any(path.name.startswith('best_score') for path in checkpoints)
    for path in checkpoints:
        torch.load(path, weights_only=True)
    # The run goes on from there to its end, and tidies up.
    resumed = runner(work, resume=True, load_from=name)
    resumed.train()
    assert resumed.epoch == 3
    assert sorted(path.name for path in work.glob('*.pth')) in (
        ['best_score_epoch_3.pth', 'epoch_3.pth'],
        # A best one from between the kill and the last checkpoint is not known to the resumed run.
        ['best_score_epoch_2.pth', 'best_score_epoch_3.pth', 'epoch_3.pth'],
    )
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_3.pth')
    assert not list(work.glob('*.tmp'))


class _FullDisk(Hook):
    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            # Of a write beyond it the system says EFBIG, as others say ENOSPC.
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


def train_until_the_disk_is_full(work_dir):
    run = runner(work_dir)
    run.register_hook(_FullDisk())
    logging.raiseExceptions = False
    try:
        with as_user_errors(Config(dict(work_dir=str(work_dir)))):
            run.train()
    except UserError as error:
        told = str(error).startswith(f'no disk space is left to write {work_dir}')
        os._exit(7 if told else 8)


def test_a_full_disk(tmp_path):
    assert in_a_process(train_until_the_disk_is_full, tmp_path) == 7
    last = (tmp_path / 'last_checkpoint').read_text()
    assert last == str(tmp_path / 'epoch_1.pth')
    assert torch.load(last, weights_only=True)['meta']['epoch'] == 1
    assert not list(tmp_path.glob('*.tmp'))
    resumed = runner(tmp_path, resume=True, load_from=last)
    resumed.train()
    assert resumed.epoch == 3


@METRICS.register_module()
class _Given(BaseMetric):
    """The scores of a list, one for each epoch."""

    def __init__(self, scores):
        super().__init__()
        self.scores = iter(scores)

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=next(self.scores), other=1.0)


@pytest.mark.parametrize('save_best', ['score', ['score', 'other']])
@pytest.mark.parametrize(
    'rule, scores, best',
    [
        ('greater', [-1, -1.0, -1], None),
        ('greater', [math.nan, 0.0, -1], 2),
        ('greater', [0.5, math.inf, math.nan], 1),
        ('less', [-1, 0.5, 0.7], 2),
        ('less', [-1, math.nan, -math.inf], None),
        ('less', [0.5, -1, 0.4], 3),
        ('greater', [torch.tensor(0.5), None, 0.6], 3),
    ],
)
def test_a_metric_that_says_nothing_is_not_the_best(rule, scores, best, save_best, tmp_path):
    run = runner(tmp_path, val_evaluator=dict(type='_Given', scores=scores))
    hook = next(hook for hook in run.hooks if isinstance(hook, AtomicCheckpointHook))
    hook.__init__(interval=1, save_best=save_best, rule=rule)
    run.train()
    names = [path.name for path in tmp_path.glob('best_score_*.pth')]
    assert names == ([f'best_score_epoch_{best}.pth'] if best else [])
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert ('score is -1, that is: nothing to evaluate: the' in log) == (-1 in scores)
    assert ('score is nan: the checkpoint is not kept' in log) == any(
        isinstance(score, float) and math.isnan(score) for score in scores
    )


def test_a_metric_that_is_not_given(tmp_path):
    run = runner(tmp_path, val_evaluator=dict(type='_Given', scores=[1, 2, 3]))
    hook = next(hook for hook in run.hooks if isinstance(hook, AtomicCheckpointHook))
    hook.__init__(interval=1, save_best='mAP')
    with pytest.raises(UserError, match="'mAP', which .* not give: choose among score, other"):
        run.train()


@pytest.mark.parametrize('first, best', [(-1, 2), (0.9, 1)])
def test_the_first_metric_is_that_of_auto(first, best, tmp_path):
    run = runner(tmp_path, val_evaluator=dict(type='_Given', scores=[first, 0.5, 0.1]))
    hook = next(hook for hook in run.hooks if isinstance(hook, AtomicCheckpointHook))
    hook.__init__(interval=1, save_best='auto', rule='greater')
    run.train()
    assert (tmp_path / f'best_score_epoch_{best}.pth').exists()


def test_resume_in_a_moved_folder(place):
    """The path in last_checkpoint is absolute; the folder may have moved since."""
    work = place / 'work'
    work.mkdir()
    torch.save({}, work / 'epoch_1.pth')
    (work / 'last_checkpoint').write_text('/gone/epoch_1.pth')
    cfg = load_config('tiny.py', work_dir=str(work))
    choose_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(work / 'epoch_1.pth'))
    cfg = load_config('tiny.py', work_dir=str(place / 'fresh'))
    choose_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, None)
    assert isinstance(cfg, Config)
