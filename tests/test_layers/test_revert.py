"""DN-B to BatchNorm: the same numbers where alpha and lambda stand still, else their means."""

import copy

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNC, SEBN, convert_batchnorm, revert_to_batchnorm
from dn_mmdet.layers.norm_act import NormAct
from tests.helpers.layer_maps import random_maps, randomize, trained_bn

FORMS = [
    {'g': 'oup', 'sc_input': 'raw'},
    {'g': 2},
    {'g': 1, 'parameterization': 'conditioned', 'gain': 'bn'},
]
EXACT = dict(rtol=1e-5, atol=1e-5)


def network(**norm):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3), DNB(24, r=4, **norm), nn.ReLU(), nn.Conv2d(24, 8, 3), DNB(8, **norm)
    )
    return randomize(model).eval()


def still(model):
    """Half of the units do nothing with the input, and nothing is done with the other half."""
    with torch.no_grad():
        for layer in (m for m in model.modules() if isinstance(m, (DNB, DNC))):
            sc = layer.sc
            sc.fc1_weight[::2] = 0
            per_group = sc.fc2_weight.unflatten(0, (sc.groups, -1))  # Its outputs, its units.
            for unit in range(1, len(sc.fc1_bias), 2):
                group, place = divmod(unit, per_group.shape[2])
                per_group[group, :, place] = 0
    return model


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('form', FORMS, ids=str)
def test_what_stands_still_stays_the_same(form, training):
    model = still(network(**form)).train(training)
    assert all(layer.sc.fc2_weight.abs().max() > 0 for layer in (model[1], model[4]))
    there, movement = revert_to_batchnorm(copy.deepcopy(model))
    assert [type(m) for m in (there[1], there[4])] == [nn.BatchNorm2d] * 2
    assert movement == {'1': (0, 0.0, 0.0, 0.0), '4': (0, 0.0, 0.0, 0.0)}
    x = random_maps((4, 3, 8, 8))
    torch.testing.assert_close(there(x), model(x), **EXACT)
    assert all(m.training == training for m in there.modules())
    for old, new in ((model[1], there[1]), (model[4], there[4])):
        torch.testing.assert_close(new.running_var, old.bn.running_var)
        assert int(new.num_batches_tracked) == int(old.bn.num_batches_tracked)
        assert new.weight.requires_grad and new.bias.requires_grad


def test_there_and_back():
    """To the last bit, frozen and synced layers and everything that is not a number included."""
    model = nn.Sequential(
        trained_bn(24, eps=1e-3, momentum=None),
        nn.SyncBatchNorm.convert_sync_batchnorm(trained_bn(24)),
        trained_bn(24).double().requires_grad_(False).train(),
    )
    model[0].track_running_stats = False
    there, _ = revert_to_batchnorm(convert_batchnorm(copy.deepcopy(model)))
    for old, new in zip(model, there):
        assert type(old) is type(new)
        for name in ('eps', 'momentum', 'track_running_stats', 'training', 'num_features'):
            assert getattr(old, name) == getattr(new, name)
        assert [p.requires_grad for p in old.parameters()] == [
            p.requires_grad for p in new.parameters()
        ]
        assert all(torch.equal(v, new.state_dict()[k]) for k, v in old.state_dict().items())
        assert list(old.state_dict()) == list(new.state_dict())


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_means_over_images(form):
    model, x = network(**form), random_maps((6, 3, 8, 8))
    with torch.no_grad():
        inputs = {'1': model[0](x), '4': model[:4](x)}
        expected = {name: model[int(name)].affine(y) for name, y in inputs.items()}
        outputs = {name: model[int(name)](y) for name, y in inputs.items()}
    model.train()
    model[4].eval()
    there, movement = revert_to_batchnorm(copy.deepcopy(model), [x[:4], x[4:]])
    assert [m.training for m in there] == [m.training for m in model]
    for name, (alpha, shift, _) in expected.items():
        bn, told = there[int(name)], movement[name]
        torch.testing.assert_close(bn.weight, alpha.mean(0), **EXACT)
        torch.testing.assert_close(bn.bias, shift.mean(0), **EXACT)
        spreads = [float(v.std(0, unbiased=False).mean()) for v in (alpha, shift)]
        assert told.samples == 6 and min(spreads) > 1e-4
        assert told[1:3] == pytest.approx(spreads, rel=1e-3)
        with torch.no_grad():
            change = bn.eval()(inputs[name]) - outputs[name]
        # For normalized values of mean 0 and variance 1, which these images do not have.
        seen = float(change.square().mean().sqrt() / outputs[name].square().mean().sqrt())
        assert seen / 3 < told.error < seen * 3
    # The mean of one is itself.
    there, _ = revert_to_batchnorm(copy.deepcopy(model), [x[:1]])
    torch.testing.assert_close(there.eval()(x[:1]), model.eval()(x[:1]), rtol=1e-4, atol=1e-4)


def test_images_are_shown_as_the_caller_says():
    model, seen = network(), []

    def run(batch):
        assert not model.training and not torch.is_grad_enabled()
        seen.append(batch['n'])
        model(batch['image'])

    model.train()
    batches = ({'n': n, 'image': random_maps((2, 3, 8, 8), seed=n)} for n in range(2))
    there, movement = revert_to_batchnorm(model, batches, run=run)
    assert there is model and seen == [0, 1] and movement['1'].samples == 4
    assert model.training and type(model[1]) is nn.BatchNorm2d


def test_what_stands_still_is_exact_beside_what_moves():
    model = network()
    with torch.no_grad():
        model[1].sc.fc2_weight.zero_()
        offset = model[1].alpha_offset.clone()
    _, movement = revert_to_batchnorm(model, [random_maps((3, 3, 8, 8))])
    assert torch.equal(model[1].weight, offset)
    assert movement['1'].samples == 0 and movement['4'].samples == 3


@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_dnc_is_what_it_does_in_evaluation(fuse):
    layer, x = randomize(DNC(24, r=4, fuse=fuse)).train(), random_maps((4, 24, 5, 3))
    there, _ = revert_to_batchnorm(nn.Sequential(copy.deepcopy(layer)))
    assert there[0].training
    torch.testing.assert_close(there.eval()(x), layer.eval()(x), **EXACT)
    loose = nn.Sequential(randomize(DNC(24, r=4, fuse=fuse, track_running_stats=False)))
    with pytest.raises(ValueError, match='differ between images in 1 of 1 layers: 0: give batch'):
        revert_to_batchnorm(loose)
    expected = loose.eval()(x)
    torch.testing.assert_close(revert_to_batchnorm(loose, [x]).model(x), expected, **EXACT)


@pytest.mark.parametrize('activation', ['ReLU', 'ReLU6'])
def test_an_activation_goes_behind(activation):
    layer = randomize(DNB(24, activation=activation)).eval()
    nn.init.zeros_(layer.sc.fc2_weight)
    layer.alpha_offset.mul_(9)
    model = nn.Sequential(layer, nn.Sequential(layer))
    x = random_maps((4, 24, 5, 3))
    there, _ = revert_to_batchnorm(copy.deepcopy(model))
    assert type(there[0]) is NormAct and there[0] is there[1][0]
    assert list(there.state_dict())[:2] == ['0.weight', '0.bias']
    torch.testing.assert_close(there(x), model(x), **EXACT)
    # Which DN-B can take over again, under the same keys.
    again = convert_batchnorm(copy.deepcopy(there), r=16, g=1)
    torch.testing.assert_close(again(x), model(x), **EXACT)
    assert list(again.state_dict()) == list(model.state_dict())


def test_an_activation_that_was_folded_goes_back():
    """mmcv's fusion of convolution and BatchNorm then does what it says."""
    cnn = pytest.importorskip('mmcv.cnn')
    from dn_mmdet.backbones import fold_activations

    module = cnn.ConvModule(3, 8, 3, norm_cfg=dict(type='BN'), act_cfg=dict(type='ReLU6'))
    model = randomize(nn.Sequential(module)).eval()
    x, keys = random_maps((2, 3, 8, 8), mean=2.0), list(model.state_dict())
    expected = model(x)
    convert_batchnorm(model)
    assert fold_activations(model) == 1
    revert_to_batchnorm(model)
    assert type(module.bn) is nn.BatchNorm2d and type(module.activate) is nn.ReLU6
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(x), expected, **EXACT)
    torch.testing.assert_close(cnn.fuse_conv_bn(model)(x), expected, **EXACT)


def test_an_activation_goes_behind_once_in_a_shared_module():
    block = nn.Sequential(DNB(4, activation='ReLU'))
    model, _ = revert_to_batchnorm(nn.ModuleDict({'one': block, 'two': block}))
    assert type(model['one'][0]) is NormAct and type(model['one'][0].act) is nn.ReLU


def test_where():
    model, x = network(), random_maps((3, 3, 8, 8))
    with torch.no_grad():
        model[1].sc.fc2_weight.zero_()
        expected = model(x)
    revert_to_batchnorm(model, where='1')
    assert type(model[1]) is nn.BatchNorm2d and type(model[4]) is DNB
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_root_and_frozen():
    layer = DNB(4, requires_grad=False).half()
    bn, movement = revert_to_batchnorm(layer)
    assert type(bn) is nn.BatchNorm2d and list(movement) == ['']
    assert not bn.weight.requires_grad and {v.dtype for v in bn.parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ('model', 'options', 'error', 'message'),
    [
        ('resnet18', {}, TypeError, 'model must be a torch.nn.Module, got str'),
        (nn.Linear(2, 2), {}, ValueError, 'Linear has no DN-B or DN-C to convert: it has no norm'),
        (SEBN(4), {}, ValueError, 'SEBN has no DN-B or DN-C .*its norm layers are SEBN$'),
        (
            network(),
            {},
            ValueError,
            '^alpha and lambda differ between .* 2 of 2 layers: 1, 4: give',
        ),
        (network(), {'where': '4'}, ValueError, 'in 1 of 1 layers: 4: give batches'),
        (network(), {'where': 'x'}, ValueError, "where='x' selects none of the 2 DNB: '1', '4'"),
        (network(), {'batches': []}, ValueError, 'batches let no image pass 1, 4, whose alpha'),
        (network(), {'batches': 3}, TypeError, 'batches must be an iterable of inputs, got int'),
        (network(), {'batches': 'images'}, TypeError, 'an iterable of inputs, got str'),
        (network(), {'batches': [0], 'run': 1}, TypeError, 'run must be a callable .*, got int'),
        (network(), {'batches': [0], 'run': print}, ValueError, 'let no image pass 1, 4'),
        (network(), {'batches': ['image']}, TypeError, 'argument'),
        (network().to('meta'), {}, ValueError, "^1, 4 has no numbers, only shapes, .* 'meta'"),
        (nn.Sequential(DNB(4), DNB(4, device='meta')), {}, ValueError, '^1 has no numbers'),
        (DNB(4), {'where': ''}, ValueError, "where='' selects none .*: the model itself, which"),
    ],
)
def test_bad_arguments(model, options, error, message):
    kinds = [type(m) for m in model.modules()] if isinstance(model, nn.Module) else None
    with pytest.raises(error, match=message):
        revert_to_batchnorm(model.train() if kinds else model, **options)
    if kinds:
        assert [type(m) for m in model.modules()] == kinds
        assert all(m.training and not m._forward_hooks for m in model.modules())


@pytest.mark.parametrize('where', ['weights', 'batches'])
def test_what_is_not_finite(where):
    model, x = network(), random_maps((4, 3, 8, 8))
    (x if where == 'batches' else model[1].sc.fc2_weight.data)[0] = float('nan')
    with pytest.raises(ValueError, match='alpha or lambda of 1, 4 is NaN or infinite'):
        revert_to_batchnorm(model, [x])
    assert type(model[1]) is DNB


@pytest.mark.parametrize('bn', [nn.BatchNorm2d(4), nn.Identity()])
def test_a_layer_whose_batch_norm_is_another(bn):
    model = nn.Sequential(DNB(4), DNB(4))
    model[1].bn = bn
    with pytest.raises(
        ValueError, match=rf'1\.bn must be .* without affine, got {type(bn).__name__}'
    ):
        revert_to_batchnorm(model)
    assert type(model[0]) is DNB
