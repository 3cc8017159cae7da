"""A run that was killed at any moment and resumed ends as one that nothing happened to."""

import multiprocessing
import os
import random
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from dn_mmdet.engine.hooks.interrupt import _keep_workers, saved_at_interrupts
from dn_mmdet.engine.hooks.resume import exact_resume
from dn_mmdet.engine.hooks.steps import watched_steps
from dn_mmdet.runs.log import read_run_log
from tests.helpers.processes import run_together

IMAGES = 10
EPOCHS = dict(by_epoch=True, max_epochs=4, val_interval=2)
ITERATIONS = dict(by_epoch=False, max_iters=11, val_interval=4)
ADAM = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=0.1))
ENDLESS = dict(type='InfiniteSampler', shuffle=True)

POINTS = (
    'before_run',
    'before_train_epoch',
    'before_train_iter',
    'after_train_iter',
    'after_train_iter',
    'before_save_checkpoint',
    'before_val_epoch',
    'after_val_iter',
    'after_val_epoch',
    'after_train_epoch',
)


class Killed(BaseException):
    """Nothing in a run catches it, as nothing catches SIGKILL."""


class Drawn(Dataset):
    """Numbers that all three generators draw anew each time."""

    def __len__(self):
        return IMAGES

    def __getitem__(self, index):
        noise = [random.random(), np.random.rand(), torch.rand(()).item(), index / IMAGES]
        return (torch.tensor(noise, dtype=torch.float32),)


@MODELS.register_module()
class _Dropping(BaseModel):
    """A norm, dropout, and a draw from each generator on the side of the model."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)
        )

    def forward(self, samples, mode='tensor'):
        y = self.layers(torch.stack(samples))
        if mode == 'loss':
            return dict(
                loss=y.square().mean() + 0.1 * (random.random() + np.random.rand()) * y.sum()
            )
        return y


@METRICS.register_module()
class _Mean(BaseMetric):
    """Of what the model gives, which each process computes with its own statistics."""

    def process(self, data_batch, data_samples):
        self.results += [y.double().sum().item() for y in data_samples]

    def compute_metrics(self, results):
        return dict(mean=sum(results))


def kill():
    raise Killed


class At(Hook):
    """Calls a function in a hook, the n-th time that it is called."""

    def __init__(self, point, times, function=kill):
        self.left = times

        def hook(runner, *args, **kwargs):
            self.left -= 1
            if not self.left:
                function()

        setattr(self, point, hook)


def runner(work_dir, train_cfg=EPOCHS, workers=0, *, more=None, hooks=(), **options):
    loader = dict(
        batch_size=2,
        dataset=Drawn(),
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    by_epoch = train_cfg['by_epoch']
    checkpoint = dict(
        type='AtomicCheckpointHook',
        interval=1 if by_epoch else 3,
        by_epoch=by_epoch,
        save_best='mean',
        rule='less',
        max_keep_ckpts=2,
    )
    runner.count = getattr(runner, 'count', 0) + 1
    made = Runner(
        model=dict(type='_Dropping'),
        work_dir=str(work_dir),
        train_dataloader=loader | (more or {}),
        val_dataloader=loader | dict(sampler=dict(type='DefaultSampler', shuffle=False)),
        val_cfg=dict(),
        val_evaluator=dict(type='_Mean'),
        train_cfg=train_cfg,
        param_scheduler=dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=9),
        default_hooks=dict(checkpoint=checkpoint, logger=dict(type='LoggerHook', interval=1)),
        log_processor=dict(by_epoch=by_epoch),
        visualizer=dict(
            type='Visualizer', vis_backends=[dict(type='LocalVisBackend')], name=f'v{runner.count}'
        ),
        experiment_name=f'exact_{runner.count}',
        **dict(randomness=dict(seed=3), optim_wrapper=ADAM) | options,
    )
    for hook in hooks:
        made.register_hook(hook)
    return made


def train(made):
    with saved_at_interrupts(made), exact_resume(made), watched_steps(made):
        made.train()


def tell_all(number, told):
    """As torchrun, a scheduler and a terminal do: the processes that load data too."""
    # Those of earlier runs may be there still, and a second SIGINT ends one.
    workers = {*multiprocessing.active_children()} - told
    told |= workers
    for each in workers if number == signal.SIGTERM else ():
        status = Path(f'/proc/{each.pid}/status').read_text()
        blocked = int(re.search('SigBlk:(.*)', status).group(1), 16)
        assert blocked >> number - 1 & 1, f'process {each.pid} would end'
    # Of another process than this one, which ends its own.
    subprocess.run(['kill', f'-{int(number)}', *(str(each.pid) for each in workers)], check=True)
    os.kill(os.getpid(), number)


def resume(work_dir, *args, **options):
    """Train on from the checkpoint that --resume would take, or from the start."""
    pointer = work_dir / 'last_checkpoint'
    if pointer.exists():
        options |= dict(resume=True, load_from=pointer.read_text())
    torch.manual_seed(0)
    made = runner(work_dir, *args, **options)
    train(made)
    return made


def outcome(work_dir):
    """All that must be the same, of a run that is over."""
    last = (work_dir / 'last_checkpoint').read_text()
    checkpoint = torch.load(last, weights_only=False)
    log = read_run_log(work_dir)
    rows = [
        {key: row[key] for key in row.keys() - {'time', 'data_time', 'eta', 'memory'}}
        for row in (*log.train.values(), *log.val.values())
    ]
    info = checkpoint['message_hub']['runtime_info']
    scores = {key: info.get(key) for key in ('best_score', 'iter', 'epoch')}
    return dict(
        rows=sorted(map(repr, map(sorted, map(dict.items, rows)))),
        last=last.rpartition('/')[2],
        meta={key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed', 'batch')},
        scores=scores,
        schedule=repr(checkpoint['param_schedulers']),
        files=sorted(path.name for path in work_dir.glob('*.pth')),
    ), (checkpoint['state_dict'], checkpoint['optimizer'])


def assert_same(first, second):
    (texts, tensors), (others, other_tensors) = outcome(first), outcome(second)
    assert texts == others
    torch.testing.assert_close(tensors, other_tensors, rtol=0, atol=0)


@pytest.mark.parametrize(
    'train_cfg, more', [(EPOCHS, {}), (ITERATIONS, {}), (ITERATIONS, dict(sampler=ENDLESS))]
)
def test_killed_anywhere(train_cfg, more, tmp_path, monkeypatch):
    # mmengine waits for 2 seconds where it begins the data anew.
    monkeypatch.setattr('mmengine.runner.loops.time', SimpleNamespace(sleep=int))
    resume(tmp_path / 'whole', train_cfg, more=more)
    draw = random.Random(str(train_cfg))
    # DN_MMDET_KILLS=100 in the environment kills that many runs, ten times each.
    for number in range(int(os.environ.get('DN_MMDET_KILLS', 1))):
        work = tmp_path / f'killed_{number}'
        for _ in range(10):
            kill = At(draw.choice(POINTS), draw.randint(1, 5))
            with suppress(Killed):
                resume(work, train_cfg, more=more, hooks=[kill])
        resume(work, train_cfg, more=more)
        assert_same(tmp_path / 'whole', work)


@pytest.mark.parametrize('train_cfg, batch', [(EPOCHS | dict(max_epochs=2), 3), (ITERATIONS, 11)])
def test_killed_in_the_last_evaluation(train_cfg, batch, tmp_path):
    """The score of a best checkpoint is in the last one, too."""
    resume(tmp_path / 'whole', train_cfg)
    with pytest.raises(Killed):
        resume(tmp_path / 'killed', train_cfg, hooks=[At('after_val_iter', batch)])
    resume(tmp_path / 'killed', train_cfg)
    assert_same(tmp_path / 'whole', tmp_path / 'killed')


@pytest.mark.parametrize(
    'number, train_cfg', [(signal.SIGTERM, EPOCHS), (signal.SIGINT, ITERATIONS)]
)
def test_told_to_stop(number, train_cfg, tmp_path, monkeypatch):
    """The step is finished and saved, wherever the signal comes; averages are those of the run."""
    monkeypatch.setattr('mmengine.runner.loops.time', SimpleNamespace(sleep=int))
    options = dict(workers=1, custom_hooks=[dict(type='EMAHook', momentum=0.1)])
    resume(tmp_path / 'whole', train_cfg, **options)
    work, told = tmp_path / 'told', {*multiprocessing.active_children()}
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for point, times, iteration in (
        ('before_train_iter', 2, 2),
        ('after_train_iter', 1, 3),
        ('after_val_iter', 1, None),
    ):
        hook = At(point, times, lambda: tell_all(number, told))
        with pytest.raises(KeyboardInterrupt):
            resume(work, train_cfg, hooks=[hook], **options)
        checkpoint = torch.load((work / 'last_checkpoint').read_text(), weights_only=False)
        assert iteration in (None, checkpoint['meta']['iter'])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    resume(work, train_cfg, **options)
    assert_same(tmp_path / 'whole', work)


def blocked():
    return {*signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def _tell_blocked(to):
    to.send(blocked())


class Blocked(Dataset):
    """Which signals the process has blocked that loads."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return blocked()


@pytest.mark.parametrize('method', [None, 'fork', 'spawn'])
def test_no_signal_ends_a_worker_that_begins(method):
    """A launcher's may come when the worker has done nothing yet."""
    earlier = blocked()
    loader = DataLoader(Blocked(), None, num_workers=1, multiprocessing_context=method)
    _keep_workers(loader)
    assert all(signal.SIGTERM in each for each in loader)
    here, there = multiprocessing.Pipe()
    process = loader.multiprocessing_context.Process(target=_tell_blocked, args=(there,))
    process.start()
    assert here.recv() == earlier | {signal.SIGTERM}
    process.join()
    assert blocked() == earlier


def _train_and_end(folder):
    _train_and_end.kept = resume(folder, EPOCHS | dict(max_epochs=1), workers=1)


def test_a_run_ends_its_workers(tmp_path):
    """Those that no loader has ended, as Python does with the first SIGTERM that it sends."""
    process = multiprocessing.get_context('fork').Process(target=_train_and_end, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == 0 or process.kill()


def test_the_second_signal_ends_a_run_at_once(tmp_path):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(runner(tmp_path, hooks=[At('before_train_iter', 2, twice)]))
    assert not list(tmp_path.glob('*.pth'))


def test_accumulated_gradients_come_to_their_update(tmp_path):
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    hook = At('before_train_iter', 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        train(runner(tmp_path, hooks=[hook], optim_wrapper=optimizer | dict(accumulative_counts=3)))
    assert torch.load(tmp_path / 'interrupted.pth', weights_only=False)['meta']['iter'] == 3


@pytest.mark.parametrize('given', [None, 5])
def test_a_run_keeps_its_seed(given, tmp_path, capsys):
    """A drawn one too, which another process would not draw again."""
    more = dict(max_epochs=1)
    resume(tmp_path, EPOCHS | more, randomness=dict(seed=None))
    seed = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)['meta']['seed']
    capsys.readouterr()
    made = resume(tmp_path, EPOCHS, randomness=dict(seed=given))
    assert made.seed == seed == made.train_dataloader.sampler.seed
    told = capsys.readouterr().out
    assert ('continues with its seed' in told) == (given is not None)
    assert 'resumed key' not in told  # mmengine's warning of what a run does not hand on


def _in_one_of_two(rank, folder):
    os.environ['LOCAL_RANK'] = str(rank)
    options = dict(
        more=dict(drop_last=True),
        launcher='pytorch',
        cfg=Config(
            dict(
                model_wrapper_cfg=dict(
                    type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
                )
            )
        ),
    )
    resume(folder / 'whole', **options)
    work = folder / 'killed'
    with suppress(Killed):
        resume(work, hooks=[At('after_val_iter', 1)], **options)
    # One process alone is told; both stop behind the same step.
    tell = At('before_train_iter', 2, lambda: rank and os.kill(os.getpid(), signal.SIGTERM))
    with suppress(KeyboardInterrupt):
        resume(work, hooks=[tell], **options)
    assert (work / 'last_checkpoint').read_text() == str(work / 'interrupted.pth')
    resume(work, **options)


def test_two_processes(tmp_path):
    run_together(_in_one_of_two, tmp_path)
    assert_same(tmp_path / 'whole', tmp_path / 'killed')
