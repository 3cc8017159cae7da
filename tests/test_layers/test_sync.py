"""A layer that shares its statistics, in one process: how it is made, converted and copied."""

import copy
import io

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNC
from tests.helpers.layer_maps import random_maps, randomize, trained_bn

SHAPE = (4, 24, 5, 7)


def assert_same(layer, other):
    """Output, gradients and statistics of one training step, then of evaluation."""
    results = []
    for one in (layer, other):
        x = random_maps(SHAPE).requires_grad_()
        y = one.train()(x)
        y.square().sum().backward()
        results.append(
            [
                y,
                x.grad,
                *(parameter.grad for parameter in one.parameters()),
                *one.bn.buffers(),
                one.eval()(x),
            ]
        )
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('layer', [DNB, DNC])
def test_one_process_needs_no_group(layer):
    shared, alone = layer(24, r=4, sync=True), layer(24, r=4)
    assert 'sync=True' in repr(shared) and 'sync' not in repr(alone)
    assert shared.sync and not alone.sync
    assert list(shared.state_dict()) == list(alone.state_dict())
    assert_same(randomize(shared), randomize(alone))
    with pytest.raises(ValueError, match='more than 1 value per channel when training'):
        shared.train()(torch.zeros(1, 24, 1, 1))


@pytest.mark.parametrize('layer', [DNB, DNC])
def test_conversion(layer):
    made = randomize(layer(24, r=4, eps=1e-3, momentum=0.3))
    network = nn.Sequential(copy.deepcopy(made))
    buffers = dict(network.named_buffers())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert converted[0].sync
    assert converted.state_dict().keys() == buffers.keys() | dict(network.named_parameters()).keys()
    assert all(value is buffers[name] for name, value in converted.named_buffers())
    assert (converted[0].bn.eps, converted[0].bn.momentum) == (1e-3, 0.3)
    assert_same(converted[0], made)


def test_conversion_takes_the_group():
    # The class wants a running group; the conversion only hands it on.
    group = object()
    assert nn.SyncBatchNorm.convert_sync_batchnorm(DNB(24), group).bn.process_group is group


def test_conversion_keeps_frozen_statistics():
    model = pytest.importorskip('mmengine.model')
    layer = DNB(24).train()
    layer.bn.eval()
    assert not model.convert_sync_batchnorm(layer).bn.training


def test_conversion_and_back_by_mmengine():
    model = pytest.importorskip('mmengine.model')
    layer = randomize(DNB(24, r=4))
    other = model.revert_sync_batchnorm(model.convert_sync_batchnorm(copy.deepcopy(layer)))
    assert other.state_dict().keys() == layer.state_dict().keys()
    assert_same(other, layer)


def test_batch_norm_that_mmengine_reverted():
    """Its own class; the operator is used with it as with the original."""
    utils = pytest.importorskip('mmengine.model.utils')
    layer = randomize(DNB(24, r=4))
    other = copy.deepcopy(layer)
    other.bn = utils.revert_sync_batchnorm(nn.SyncBatchNorm(24, affine=False))
    other.load_state_dict(layer.state_dict())
    assert type(other.bn) is utils._BatchNormXd and other._uses_operator(random_maps(SHAPE))
    assert_same(other, layer)


def test_other_members_stay_what_they_are():
    layer = DNB(24)
    affine = nn.SyncBatchNorm(24)
    layer.add_module('bn', affine)
    assert layer.bn is affine and not layer.sync
    layer.add_module('more', nn.SyncBatchNorm(24, affine=False))
    assert type(layer.more) is nn.SyncBatchNorm


@pytest.mark.parametrize('layer', [DNB, DNC])
def test_from_a_synced_bn(layer):
    bn = nn.SyncBatchNorm.convert_sync_batchnorm(trained_bn())
    made = layer.from_bn(bn)
    assert made.sync and not layer.from_bn(bn, sync=False).sync
    x = random_maps(SHAPE)
    torch.testing.assert_close(made(x), bn(x), rtol=1e-6, atol=2e-6)


def test_deepcopy_and_pickle():
    layer = randomize(DNB(24, r=4, sync=True))
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert other.sync
        assert_same(other, copy.deepcopy(layer))


@pytest.mark.parametrize('layer', [DNB, DNC])
@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({'sync': 'torch'}, TypeError, "sync must be a bool, got 'torch'"),
        ({'sync': True, 'process_group': 1}, TypeError, 'ProcessGroup or None, got 1 of type int'),
        ({'sync': True, 'process_group': [0]}, TypeError, r'ProcessGroup or None, got \[0\]'),
    ],
)
def test_bad_arguments(layer, options, error, message):
    with pytest.raises(error, match=message):
        layer(24, **options)


def test_group_without_sync():
    from torch.distributed import GroupMember

    with pytest.raises(ValueError, match='process_group must be None without sync=True'):
        DNB(24, process_group=GroupMember.NON_GROUP_MEMBER)
