"""A run on mmengine's Runner that takes milliseconds: a convolution, DN-B and a BatchNorm."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

from dn_mmdet.layers import DNB


@MODELS.register_module()
class NormedMap(BaseModel):
    """A convolution, DN-B, and a BatchNorm."""

    def __init__(self, start='identity'):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 1)
        self.norm = DNB(8, r=4, g='oup', start=start)
        self.other = torch.nn.BatchNorm2d(8)

    def forward(self, samples, mode='tensor'):
        y = self.other(self.norm(self.conv(torch.stack(samples))))
        return dict(loss=(y - 1).square().mean()) if mode == 'loss' else y


def run(work_dir, name, *hooks, start='identity', **options):
    """A Runner of two epochs of four iterations, with a name of its own."""
    torch.manual_seed(0)
    images = torch.randn(16, 3, 6, 6) + torch.arange(16.0)[:, None, None, None] / 8
    runner = Runner(
        model=dict(type='NormedMap', start=start),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4,
            dataset=TensorDataset(images),
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        randomness=dict(seed=0),
        experiment_name=name,
        **options,
    )
    for hook in hooks:
        runner.register_hook(hook)
    return runner
