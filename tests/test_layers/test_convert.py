"""BatchNorm to DN-B: the same numbers, device, dtype and mode, and nothing else touched."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from dn_mmdet.layers import DNB, DNC, SEBN, convert_batchnorm, revert_to_batchnorm
from dn_mmdet.layers.norm_act import NormAct
from dn_mmdet.layers.state import norms_of
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


def patched():
    """As some tools leave it."""
    bn = nn.BatchNorm2d(4)
    bn.forward = torch.zeros_like
    return bn


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
@pytest.mark.parametrize(
    'form',
    [{}, {'sc_input': 'raw'}, {'parameterization': 'conditioned', 'gain': 'bn'}],
    ids=str,
)
def test_output_statistics_and_gradient_stay(form, training):
    model = network().train(training)
    converted = convert_batchnorm(copy.deepcopy(model), r=2, **form)
    assert norms(converted, DNB)[0].sc_input == form.get('sc_input', 'normalized')
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
    convert_batchnorm(model.train(training))  # Older torch forgets the mode.
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
        patched(),
        DNB(4),
        DNC(4),
        SEBN(4),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)),
    ]
    inner = [kept[i].bn for i in (5, 6, 7)]
    model = nn.Sequential(*kept, Renamed(4), None)
    convert_batchnorm(model)
    assert all(now is before for now, before in zip(model, kept))
    assert [kept[i].bn for i in (5, 6, 7)] == inner
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
        ({'sc_input': 'max'}, ValueError),
        ({'requires_grad': 1}, TypeError),
        ({'sc_inputs': 'raw'}, TypeError),
        ({'eps': 1e-3}, TypeError),
        ({'device': 'cpu'}, TypeError),
        ({'num_features': 4}, TypeError),
        ({'activation': 'ReLU'}, TypeError),
    ],
)
def test_bad_arguments(options, error):
    model = network()
    said = '^[a-z_]* must be|unexpected keyword|^1: .* is taken from the Batch|^activation would'
    with pytest.raises(error, match=said):
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
@pytest.mark.parametrize('made_with', [True, False])
def test_tracking_that_was_flipped(training, made_with):
    """What was made with running statistics and what has them are two things."""
    bn = trained_bn(24, track_running_stats=made_with).train(training)
    bn.track_running_stats = not made_with
    assert_same_for_three_batches(bn, convert_batchnorm(copy.deepcopy(bn)))


@pytest.mark.parametrize('training', [True, False])
def test_statistics_that_were_taken_away(training):
    bn = trained_bn(24).train(training)
    bn.running_mean = bn.running_var = None
    assert_same_for_three_batches(bn, convert_batchnorm(copy.deepcopy(bn)))


@pytest.mark.parametrize('missing', ['bias', 'num_batches_tracked'])
def test_a_number_that_was_taken_away(missing):
    bn = trained_bn(24).train()
    setattr(bn, missing, None)
    assert_same_for_three_batches(bn, convert_batchnorm(copy.deepcopy(bn)))


def assert_same_for_three_batches(bn, converted):
    assert type(converted) is DNB
    for seed in range(3):
        x = random_maps((4, 24, 5, 3), seed=seed)
        torch.testing.assert_close(converted(x), bn(x), rtol=1e-5, atol=1e-5)
    for name in ('running_mean', 'running_var'):
        now, then = getattr(converted.bn, name), getattr(bn, name)
        assert (now is None) == (then is None)
        if now is not None:
            torch.testing.assert_close(now, then, rtol=1e-5, atol=1e-6)


def test_a_layer_without_numbers_goes_where_the_model_is():
    model = nn.Sequential(nn.BatchNorm2d(4, affine=False, track_running_stats=False))
    model.add_module('conv', nn.Conv2d(4, 4, 1, device='meta', dtype=torch.float64))
    numbers = list(convert_batchnorm(model)[0].parameters())
    assert {(n.device.type, n.dtype) for n in numbers} == {('meta', torch.float64)}


class FrozenBatchNorm2d(nn.Module):
    """As torchvision's and detectron2's: buffers, and neither statistics nor a gradient."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.eps = eps
        for name, value in trained_bn(channels).state_dict().items():
            if name != 'num_batches_tracked':
                self.register_buffer(name, value)

    def forward(self, x):
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


def test_frozen_statistics_stay():
    """In training, in a switch to SyncBN, and on the way to BatchNorm and back."""
    bn, x = FrozenBatchNorm2d(24), random_maps((4, 24, 5, 3))
    model = convert_batchnorm(nn.Sequential(bn), r=4)
    expected = bn(x)
    assert type(model[0]) is DNB and not any(p.requires_grad for p in model.parameters())
    assert nn.SyncBatchNorm.convert_sync_batchnorm(model)[0] is model[0]
    there = revert_to_batchnorm(copy.deepcopy(model)).model
    for each in (model, copy.deepcopy(model), there, convert_batchnorm(copy.deepcopy(there))):
        each.train()
        torch.testing.assert_close(each(x), expected, rtol=1e-5, atol=1e-5)
        assert not any(p.requires_grad for p in each.parameters())
    assert torch.equal(model[0].bn.running_mean, bn.running_mean)
    assert int(model[0].bn.num_batches_tracked) == 0


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm's: a forward of its own with what follows."""

    def __init__(self, channels, drop=None, act=None):
        super().__init__(channels)
        self.drop = nn.Identity() if drop is None else drop
        self.act = nn.Identity() if act is None else act

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class SyncBatchNormAct(nn.SyncBatchNorm):
    def __init__(self, channels, act):
        super().__init__(channels)
        self.act = act

    def forward(self, x):
        return self.act(super().forward(x))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    ('bn', 'kind'),
    [
        (BatchNormAct2d(6, act=nn.ReLU6(inplace=True)), DNB),
        (BatchNormAct2d(6), DNB),
        (SyncBatchNormAct(6, nn.ReLU()), DNB),
        (BatchNormAct2d(6, act=nn.SiLU(inplace=True)), NormAct),
        (BatchNormAct2d(6, drop=nn.Dropout2d(), act=nn.ReLU()), NormAct),
        (BatchNormAct2d(6, act=nn.PReLU()), NormAct),
    ],
)
def test_activation_inside(bn, kind, training):
    bn = randomize(copy.deepcopy(bn))
    if isinstance(bn, nn.SyncBatchNorm):
        training = False  # It trains on GPUs alone.
    model = nn.Sequential(nn.Conv2d(3, 6, 1), bn).train(training)
    converted = convert_batchnorm(copy.deepcopy(model), r=2)
    assert type(converted[1]) is kind
    results = []
    for each in (model, converted):
        torch.manual_seed(0)
        x = random_maps((4, 3, 8, 8), mean=1.0).requires_grad_()
        y = each(x)
        y.square().sum().backward()
        results.append((y, x.grad))
    torch.testing.assert_close(*(y for y, _ in results), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(grad for _, grad in results), rtol=1e-3, atol=1e-3)
    assert all(m.training == training for m in converted.modules())


def test_states_of_an_activation_inside():
    """Those of the model before, and its own; other factors are told as for the layer alone."""
    bn = randomize(BatchNormAct2d(6, act=nn.PReLU(6)))
    model = nn.Sequential(nn.Conv2d(3, 6, 1), bn).eval()
    x = random_maps((2, 3, 8, 8))
    forms = [{}, {'parameterization': 'conditioned'}]
    one, other = (convert_batchnorm(copy.deepcopy(model), r=2, **form).eval() for form in forms)
    assert {'1.alpha_offset', '1.sc.fc1_weight', '1.act.weight'} < one.state_dict().keys()
    assert norms_of(one.state_dict()) == {'1': 'DNB'}
    with torch.no_grad():
        for each in (one, other):
            each[1].act.weight.zero_()
            each[1].norm.reset_parameters()
            each.load_state_dict(model.state_dict())
            torch.testing.assert_close(each(x), model(x), rtol=1e-5, atol=1e-5)
        nn.init.normal_(one[1].norm.sc.fc2_weight)
        other.load_state_dict(one.state_dict())
        torch.testing.assert_close(other(x), one(x), rtol=1e-5, atol=1e-5)
        assert not torch.equal(other[1].norm.sc.fc1_weight, one[1].norm.sc.fc1_weight)
    refusing = convert_batchnorm(copy.deepcopy(model), r=2, sc_input='raw')
    with pytest.raises(RuntimeError, match="1: .*sc_input='normalized'"):
        refusing.load_state_dict(one.state_dict())


def test_batch_norm_that_mmengine_reverted():
    utils = pytest.importorskip('mmengine.model.utils')
    bn = utils.revert_sync_batchnorm(nn.SyncBatchNorm.convert_sync_batchnorm(trained_bn()))
    assert type(bn) is utils._BatchNormXd
    converted = convert_batchnorm(nn.Sequential(bn))
    x = random_maps((2, 24, 3, 3))
    torch.testing.assert_close(converted(x), bn(x), rtol=1e-5, atol=1e-5)
    assert type(converted[0]) is DNB and not converted[0].sync


def test_synced_batch_norm_of_mmcv(monkeypatch):
    sync_bn = pytest.importorskip('mmcv.ops.sync_bn')
    # Without a process group it cannot be made, and has nothing to share.
    group = object()
    monkeypatch.setattr(sync_bn, 'dist', SimpleNamespace(get_world_size=lambda group: 1))
    bn = sync_bn.SyncBatchNorm(24, eps=1e-3, group=group).eval()
    bn.load_state_dict(trained_bn().state_dict())
    monkeypatch.setattr('dn_mmdet.layers.dynamic_batch_norm.check_process_group', lambda *_: None)
    layer = convert_batchnorm(nn.Sequential(bn))[0]
    x = random_maps((2, 24, 3, 3))
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-5, atol=1e-5)
    assert layer.sync and layer.bn.process_group is group and layer.bn.eps == 1e-3


def test_further_arguments():
    layer = convert_batchnorm(
        trained_bn(), sc_input='normalized', detach_gap=True, requires_grad=False
    )
    assert layer.sc_input == 'normalized' and layer.detach_gap
    assert not any(p.requires_grad for p in layer.parameters())
    assert not convert_batchnorm(nn.SyncBatchNorm(4), sync=False).sync


@pytest.mark.parametrize(
    ('where', 'places'),
    [
        ('4', ['4.0.bn1', '4.0.down.norm', '4.1.bn1', '4.1.down.norm']),
        ('4.*', ['4.0.bn1', '4.0.down.norm', '4.1.bn1', '4.1.down.norm']),
        ('*.bn1', ['3.bn1', '4.0.bn1', '4.1.bn1']),
        ('[13]', ['1', '3.bn1', '3.down.norm']),
        (['1', '4.?.down'], ['1', '4.0.down.norm', '4.1.down.norm']),
        (lambda name, module: module.affine and name > '2', ['3.bn1', '4.0.bn1', '4.1.bn1']),
    ],
)
def test_where(where, places):
    model = convert_batchnorm(network(), where=where)
    assert [name for name, m in model.named_modules() if type(m) is DNB] == places


def test_where_a_shared_layer_or_the_model_itself():
    shared = trained_bn()
    model = nn.Sequential(shared, nn.Sequential(shared), trained_bn())
    convert_batchnorm(model, where='1')
    assert model[0] is model[1][0] and type(model[0]) is DNB and type(model[2]) is nn.BatchNorm2d
    assert type(convert_batchnorm(shared, where='*')) is DNB
    for where in ('', ['*', ''], 'bn'):
        with pytest.raises(ValueError, match=r": the model itself, which '\*' selects$"):
            convert_batchnorm(shared, where=where)


def test_where_a_shared_module():
    """A head that is in two places has two names, in whatever order."""
    head = nn.Sequential(trained_bn())
    for where in ('first', 'second.0'):
        model = nn.ModuleDict({'first': head, 'second': head, 'own': trained_bn()})
        model = convert_batchnorm(copy.deepcopy(model), where=where)
        assert model['first'] is model['second'] and type(model['first'][0]) is DNB
        assert type(model['own']) is nn.BatchNorm2d


@pytest.mark.parametrize(
    ('where', 'error', 'message'),
    [
        (
            'neck.*',
            ValueError,
            r"where='neck.\*' selects none of the 7 BatchNorm2d: '1', '3.bn1', ",
        ),
        (['1', '3.bn'], ValueError, "where='3.bn' selects none of .* and 4 more$"),
        (lambda name, module: False, ValueError, 'selects none of the 7'),
        ([], ValueError, r'where=\[\] selects none of the 7'),
        ('', ValueError, "where='' selects none of the 7"),
        (3, TypeError, 'where must be a callable .*, a pattern or a list of patterns, got 3'),
        ([3], TypeError, r'list of patterns, got \[3\]'),
    ],
)
def test_where_that_selects_nothing(where, error, message):
    model = network()
    with pytest.raises(error, match=message):
        convert_batchnorm(model, where=where)
    assert not norms(model, DNB)


def computed_by_others():
    bn = nn.BatchNorm2d(4)
    nn.utils.parametrize.register_parametrization(bn, 'weight', nn.Softplus())
    return bn


def without_variance():
    bn = nn.BatchNorm2d(4)
    bn.running_var = None
    return bn


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (computed_by_others, '1: weight of ParametrizedBatchNorm2d is computed from other param'),
        (
            lambda: prune.random_unstructured(nn.BatchNorm2d(4), 'bias', 0.5),
            '1: bias of BatchNorm2d is computed .*prune.remove',
        ),
        (nn.LazyBatchNorm2d, '1: LazyBatchNorm2d has no channels yet: let a batch'),
        (without_variance, '1: BatchNorm2d has only one of running_mean and running_var'),
        (lambda: nn.BatchNorm2d(4, eps=0.0), '1: eps must be a positive finite number, got 0.0'),
    ],
)
def test_layers_that_cannot_be_converted(make, message):
    model = nn.Sequential(nn.BatchNorm2d(4), make())
    with pytest.raises(ValueError, match=message):
        convert_batchnorm(model)
    assert type(model[0]) is nn.BatchNorm2d
    assert type(convert_batchnorm(model, where='0')[0]) is DNB


@pytest.mark.parametrize('make', [computed_by_others, nn.LazyBatchNorm2d])
def test_after_what_the_message_says(make):
    model = nn.Sequential(make())
    if make is computed_by_others:
        nn.utils.parametrize.remove_parametrizations(model[0], 'weight')
    model(random_maps((2, 4, 3, 3)))
    assert type(convert_batchnorm(model)[0]) is DNB


def test_a_model_that_is_wrapped_for_several_processes(monkeypatch):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module = module

    model = Wrapped(network())
    for change in (convert_batchnorm, revert_to_batchnorm):
        with pytest.raises(ValueError, match='DistributedDataParallel.*: convert model.module'):
            change(model)
    assert not norms(model, DNB)


@pytest.mark.parametrize('name', ['resnet18', 'mobilenet_v2'])
def test_models_of_torchvision(name):
    torchvision = pytest.importorskip('torchvision')
    model = randomize(getattr(torchvision.models, name)(num_classes=3))
    assert_converted_and_back(model, nn.BatchNorm2d)


def test_frozen_batch_norm_of_torchvision():
    torchvision = pytest.importorskip('torchvision')
    model = torchvision.models.resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    assert_converted_and_back(randomize(model), torchvision.ops.FrozenBatchNorm2d)


@pytest.mark.parametrize('name', ['mobilenetv2_050', 'efficientnet_b0'])
@pytest.mark.parametrize('frozen', [False, True])
def test_models_of_timm(name, frozen):
    timm = pytest.importorskip('timm')
    model = randomize(timm.create_model(name, num_classes=3, drop_rate=0.0))
    kind = timm.layers.BatchNormAct2d
    if frozen:
        model, kind = timm.layers.freeze_batch_norm_2d(model), timm.layers.FrozenBatchNormAct2d
    assert_converted_and_back(model, kind)


def assert_converted_and_back(model, kind):
    """In evaluation and in training the same, and the state is the same at the end."""
    assert norms(model, kind)
    x = random_maps((4, 3, 64, 64))
    for training in (False, True):
        one = model.train(training)
        converted = convert_batchnorm(copy.deepcopy(one))
        assert len(norms(converted, DNB)) + len(norms(converted, NormAct)) >= len(norms(one, kind))
        assert not any(m.affine for m in norms(converted, nn.BatchNorm2d))
        there = revert_to_batchnorm(copy.deepcopy(converted)).model
        with torch.no_grad():
            outputs = []
            for each in (copy.deepcopy(one), converted, there):
                torch.manual_seed(0)  # Of dropouts.
                outputs.append(each(x))
            for found in outputs[1:]:
                scale = outputs[0].abs().max()
                torch.testing.assert_close(found / scale, outputs[0] / scale, rtol=1e-3, atol=1e-3)
        there = revert_to_batchnorm(convert_batchnorm(copy.deepcopy(one))).model.state_dict()
        for key, value in one.state_dict().items():
            assert torch.equal(value, there[key])


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
