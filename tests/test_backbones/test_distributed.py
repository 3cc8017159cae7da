"""Backbones of which a part is not trained, under DistributedDataParallel.

In one process, which counts the gradients as several do; two real ones with a frozen stage are in
tests/test_engine/test_distributed.py.
"""

import pytest
import torch
import torch.distributed as dist
from mmengine.registry import MODELS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import dn_mmdet  # noqa: F401

MOBILE = dict(type='MobileNetV2DN', widen_factor=0.1, norm_cfg=dict(type='DNB', r=4))
RESNET = dict(type='ResNetDN', depth=18, base_channels=8, norm_cfg=dict(type='DNB', r=4))
MOBILE_PARTS = ['conv1', *(f'layer{i}' for i in range(1, 8)), 'conv2']


@pytest.fixture(scope='module', autouse=True)
def one_process(tmp_path_factory):
    store = tmp_path_factory.mktemp('ddp') / 'store'
    dist.init_process_group('gloo', init_method=f'file://{store}', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Scalar(nn.Module):
    """A number from the outputs of a backbone, with a parameter of its own."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.scale = backbone, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * sum(out.square().mean() for out in self.backbone(x))


@pytest.mark.parametrize(
    'backbone, options, trained',
    [
        (MOBILE, dict(frozen_stages=2), MOBILE_PARTS[3:]),
        (MOBILE, dict(frozen_stages=8), []),
        (MOBILE, dict(out_indices=(1, 2)), MOBILE_PARTS[:4]),
        (MOBILE, dict(out_indices=(2, 5), expansion_indices=(5,)), MOBILE_PARTS[:7]),
        (RESNET, dict(frozen_stages=1, out_indices=(1, 2)), ['layer2', 'layer3']),
    ],
    ids=str,
)
def test_three_steps_without_a_search_for_unused_parameters(backbone, options, trained):
    """mmdet's backbones end in the second step: mmdet#9899, mmdet#8208, mmdet#5524."""
    torch.manual_seed(0)
    model = Scalar(MODELS.build(backbone | options))
    before = {n: p.detach().clone() for n, p in model.backbone.named_parameters()}
    wrapped = DistributedDataParallel(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        wrapped(torch.randn(2, 3, 32, 32) + 1).backward()
        optimizer.step()
    moved = {n for n, p in model.backbone.named_parameters() if not p.equal(before[n])}
    assert {n.partition('.')[0] for n in moved if 'conv' in n} == set(trained)
