"""BatchNorm to DN-B: the same numbers, device, dtype and mode, and nothing else touched."""

import copy

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNC, SEBN, convert_batchnorm
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.layer_maps import random_maps, randomize, trained_bn

MOMENTUM = 0.3


class Block(nn.Module):
    """A residual block with a norm under a name that is looked up."""

    def __init__(self, channels=6):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.add_module('bn1', nn.BatchNorm2d(channels, momentum=MOMENTUM, eps=1e-3))
        self.down = nn.ModuleDict({'norm': nn.BatchNorm2d(channels, affine=False)})

    def forward(self, x):
        return (getattr(self, 'bn1')(self.conv(x)).relu() + self.down['norm'](x)).relu()  # noqa: B009


class OwnForward(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 1


class Renamed(nn.BatchNorm2d):
    pass


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), Block(), nn.Sequential(Block(), Block())
    )
    return randomize(model)


def norms(model, kind):
    return [module for module in model.modules() if type(module) is kind]


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('form', [{}, {'parameterization': 'conditioned', 'gain': 'bn'}], ids=str)
def test_output_statistics_and_gradient_stay(form, training):
    model = network().train(training)
    converted = convert_batchnorm(copy.deepcopy(model), r=2, **form)
    assert norms(converted, DNB)[0].sc_input == ('normalized' if form else 'raw')
    assert len(norms(converted, DNB)) == 7
    results = []
    for each in (model, converted):
        x = random_maps((4, 3, 8, 8)).requires_grad_()
        y = each(x)
        y.square().sum().backward()
        results.append((y, x.grad))
    torch.testing.assert_close(*(y for y, _ in results), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(grad for _, grad in results), rtol=1e-3, atol=1e-3)
    for old, new in zip_strict(norms(model, nn.BatchNorm2d), norms(converted, DNB)):
        torch.testing.assert_close(new.bn.running_mean, old.running_mean)
        torch.testing.assert_close(new.bn.running_var, old.running_var)
        assert (new.bn.eps, new.bn.momentum) == (old.eps, old.momentum)
        assert new.training == new.bn.training == training


def test_the_model_itself_is_changed_and_returned():
    model = network()
    assert convert_batchnorm(model) is model
    layer = model[3].bn1
    assert type(layer) is DNB and layer.sc.r == 16 and layer.sc.g == 'oup'
    assert list(model[3]._modules) == ['conv', 'bn1', 'down']
    assert convert_batchnorm(network(), r=2, g=1)[1].sc.g == 1


def test_state_of_either_loads():
    model = network().eval()
    fresh = convert_batchnorm(network()).eval()
    for state in (model.state_dict(), convert_batchnorm(copy.deepcopy(model)).state_dict()):
        fresh.load_state_dict(state)
        x = random_maps((2, 3, 8, 8))
        torch.testing.assert_close(fresh(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('training', [True, False])
def test_sync_bn(training):
    """In one process it is plain BatchNorm, on a CPU too, where SyncBatchNorm cannot train."""
    plain = network().train(training)
    model = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    assert norms(model, nn.SyncBatchNorm)
    convert_batchnorm(model)
    assert not norms(model, nn.SyncBatchNorm) and all(layer.sync for layer in norms(model, DNB))
    x = random_maps((4, 3, 8, 8))
    torch.testing.assert_close(model(x), plain(x), rtol=1e-5, atol=1e-5)


def test_root():
    bn = trained_bn()
    layer = convert_batchnorm(bn)
    assert type(layer) is DNB and not layer.training
    x = random_maps((2, 24, 3, 3))
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-5, atol=1e-5)
    assert convert_batchnorm(nn.SyncBatchNorm(4)).sync


def test_shared_layers_stay_shared():
    shared, other = trained_bn(), trained_bn()
    model = nn.Sequential(shared, nn.Sequential(shared), other)
    model.again = shared
    convert_batchnorm(model)
    assert model[0] is model[1][0] is model.again and model[2] is not model[0]
    assert len(norms(model, DNB)) == 2


def test_frozen_stays_frozen():
    model = network()
    model[1].weight.requires_grad_(False)
    model[3].bn1.bias.requires_grad_(False)
    model[3].bn1.eval()
    convert_batchnorm(model)
    assert not any(p.requires_grad for p in model[1].parameters())
    assert all(p.requires_grad for p in model[3].bn1.parameters())
    # Without affine there was nothing to freeze.
    assert all(p.requires_grad for p in model[3].down['norm'].parameters())
    assert model[1].training and model[1].bn.training
    assert not model[3].bn1.training and not model[3].bn1.bn.training


def test_device_and_dtype():
    model = nn.Sequential(nn.BatchNorm2d(4).double(), nn.BatchNorm2d(4, device='meta'))
    convert_batchnorm(model)
    assert {value.dtype for value in model[0].sc.parameters()} == {torch.float64}
    assert {value.device.type for value in model[1].state_dict().values()} == {'meta'}


def test_what_is_left_alone():
    kept = [
        nn.BatchNorm1d(4),
        nn.BatchNorm3d(4),
        nn.GroupNorm(2, 4),
        OwnForward(4),
        DNB(4),
        DNC(4),
        SEBN(4),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
    ]
    inner = [kept[i].bn for i in (4, 5, 6)]
    model = nn.Sequential(*kept, Renamed(4), None)
    convert_batchnorm(model)
    assert all(now is before for now, before in zip(model, kept))
    assert [kept[i].bn for i in (4, 5, 6)] == inner
    assert type(model[len(kept)]) is DNB


@pytest.mark.parametrize(
    ('model', 'has'),
    [
        (nn.Linear(2, 2), 'Linear has no BatchNorm2d .*: it has no norm layers'),
        (nn.Sequential(nn.GroupNorm(1, 2), nn.LayerNorm(2)), 'Sequential .*GroupNorm, LayerNorm'),
        (nn.Sequential(DNB(4)), 'its norm layers are DNB$'),
        (SEBN(4), 'SEBN has no BatchNorm2d .*its norm layers are SEBN$'),
    ],
)
def test_nothing_to_convert(model, has):
    with pytest.raises(ValueError, match=has):
        convert_batchnorm(model)


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({'r': 0}, ValueError),
        ({'g': 'in'}, ValueError),
        ({'r': 1.5}, TypeError),
        ({'parameterization': 'raw'}, ValueError),
        ({'gain': 'max'}, ValueError),
    ],
)
def test_bad_arguments(options, error):
    model = network()
    with pytest.raises(error, match='must be'):
        convert_batchnorm(model, **options)
    assert not norms(model, DNB)


def test_nothing_is_changed_where_a_later_layer_cannot_be_converted():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=0.0))
    with pytest.raises(ValueError, match='eps must be'):
        convert_batchnorm(model)
    assert not norms(model, DNB)


def test_no_module():
    with pytest.raises(TypeError, match='model must be a torch.nn.Module, got str'):
        convert_batchnorm('resnet18')


@pytest.mark.parametrize('training', [True, False])
def test_backbone_of_mmdet(training):
    resnet = pytest.importorskip('mmdet.models.backbones.resnet')
    model = randomize(resnet.ResNet(18, frozen_stages=1, norm_eval=False))
    model.train(training)
    converted = convert_batchnorm(copy.deepcopy(model))
    assert len(norms(converted, DNB)) == len(norms(model, nn.BatchNorm2d)) == 20
    assert converted.layer1[0].norm1 is converted.layer1[0].bn1
    assert not any(p.requires_grad for p in converted.layer1.parameters())
    converted.train(training)  # Freezes again, as mmdet does at each epoch.
    assert not converted.layer1[0].bn1.bn.training
    x = random_maps((2, 3, 64, 64))
    with torch.no_grad():
        for found, expected in zip_strict(converted(x), model(x)):
            scale = expected.abs().max()
            torch.testing.assert_close(found / scale, expected / scale, rtol=1e-5, atol=1e-5)
