"""A run on mmengine's Runner whose only norm is DN-B, alone or as one of several processes."""

import os

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch.utils.data import TensorDataset

from dn_mmdet.layers import DNB


@MODELS.register_module()
class SyncedMap(BaseModel):
    """Two convolutions around DN-B."""

    def __init__(self, **options):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 1)
        self.norm = DNB(8, r=4, g='oup', **options)
        self.last = torch.nn.Conv2d(8, 4, 1)

    def forward(self, samples, mode='tensor'):
        y = self.last(self.norm(self.conv(torch.stack(samples))))
        return dict(loss=(y - 1).square().mean()) if mode == 'loss' else y


def run(work_dir, batch_size, launcher='none', sync_bn=None, **options):
    """A Runner after two epochs of four iterations of four images, and EMA beside them."""
    torch.manual_seed(0)
    images = torch.randn(16, 3, 6, 6) + torch.arange(16.0)[:, None, None, None] / 8
    # DistributedDataParallel wants no device on a CPU.
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
    runner = Runner(
        model=dict(type='SyncedMap', **options),
        work_dir=str(work_dir),
        launcher=launcher,
        train_dataloader=dict(
            batch_size=batch_size,
            dataset=TensorDataset(images),
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        randomness=dict(seed=0),
        custom_hooks=[dict(type='EMAHook')],
        cfg=Config(dict(sync_bn=sync_bn, model_wrapper_cfg=wrapper)),
        experiment_name=f'synced_{batch_size}_{sync_bn}_{len(options)}',
    )
    runner.train()
    return runner


def run_all(rank, folder):
    """State and text of the model for each way to share the statistics, and for none."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(dist.get_world_size()))
    results = {}
    for name, options in {
        'sync_bn=torch': dict(sync_bn='torch'),
        'sync_bn=mmcv': dict(sync_bn='mmcv'),
        'sync=True': dict(sync=True),
        'alone': {},
    }.items():
        model = run(folder / name, 2, 'pytorch', **options).model.module
        results[name] = model.state_dict(), repr(model.norm)
    return results
