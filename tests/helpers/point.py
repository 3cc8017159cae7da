"""A run on mmengine's Runner that takes milliseconds: a linear layer and a norm on four numbers."""

import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

import dn_mmdet  # noqa: F401 - registers the hooks


@MODELS.register_module()
class NormedPoint(BaseModel):
    """Two losses and an accuracy, which is NaN; a mask, which is infinite."""

    def __init__(self):
        super().__init__()
        self.point = torch.nn.Linear(4, 2)
        self.norm = torch.nn.BatchNorm1d(2)
        self.register_buffer('mask', torch.tensor([0.0, -torch.inf]))

    def forward(self, samples, mode='tensor'):
        y = self.norm(self.point(torch.stack(samples)))
        return (
            dict(loss_a=y.square().mean(), loss_b=y.mean().square(), acc=torch.tensor(torch.nan))
            if mode == 'loss'
            else y
        )


class At(Hook):
    """Calls a function with the runner at the end of one iteration, counted from 1."""

    def __init__(self, iteration, function, priority='NORMAL'):
        self.iteration, self.function, self.priority = iteration, function, priority

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            self.function(runner)


class Rates(Hook):
    """The learning rate of every iteration, of the last group of parameters."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.optimizer.param_groups[-1]['lr'])


def point_runner(
    work_dir, *hooks, epochs=3, optim_wrapper=None, loader=None, train_cfg=None, **options
):
    """A Runner of two iterations in each epoch."""
    torch.manual_seed(0)
    optim_wrapper = optim_wrapper or {}
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9) | optim_wrapper.pop('optimizer', {})
    default_hooks = dict(
        checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=1),
        invalid_loss=dict(type='InvalidLossHook'),
        resume_lr=dict(type='ResumeLRHook'),
    )
    # A name of its own: runs of one name share their history in a process.
    point_runner.count = getattr(point_runner, 'count', 0) + 1
    runner = Runner(
        model=dict(type='NormedPoint'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            dataset=TensorDataset(torch.randn(4, 4)),
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        | (loader or {}),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer, **optim_wrapper),
        default_hooks=default_hooks,
        experiment_name=f'point_{point_runner.count}',
        **options,
    )
    for hook in hooks:
        runner.register_hook(hook)
    assert MessageHub.get_current_instance() is runner.message_hub
    return runner
