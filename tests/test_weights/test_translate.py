"""Weights under the names of mmpretrain, torchvision and Keras become those of mmdet, and right.

``torchvision_names.json`` holds names and shapes of ``torchvision.models.<model>().state_dict()``,
written with torchvision 0.16.2, since not every environment can import it.
"""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import MobileNetV2, ResNet

from dn_mmdet.weights import bare_name, translate
from dn_mmdet.weights.translate import foreign_names
from tests.helpers.foreign import (
    as_keras,
    as_keras_resnet,
    as_mmpretrain,
    as_torchvision,
    randomized,
)

NAMES = json.loads(Path(__file__).with_name('torchvision_names.json').read_text())


@pytest.fixture(scope='module')
def mobilenet():
    torch.manual_seed(0)
    return randomized(MobileNetV2(widen_factor=0.25)).state_dict()


@pytest.fixture(scope='module')
def resnet():
    torch.manual_seed(0)
    return randomized(ResNet(50, base_channels=4)).state_dict()


def torch_arrays(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def in_a_model(state):
    return {f'backbone.{key}': value for key, value in state.items()}


def assert_same(translation, own, owner, counters=True):
    assert translation.convention.owner == owner
    assert translation.left_over == []
    keys = [key for key in own if counters or not key.endswith('num_batches_tracked')]
    assert sorted(translation.state) == sorted(keys)
    for key in keys:
        torch.testing.assert_close(translation.state[key], own[key], msg=key)


@pytest.mark.parametrize(
    'foreign, owner', [(as_mmpretrain, 'mmpretrain'), (as_torchvision, 'torchvision')]
)
@pytest.mark.parametrize('alone', [True, False])
def test_mobilenet_of_torch(foreign, owner, alone, mobilenet):
    own = mobilenet if alone else in_a_model(mobilenet)
    assert_same(translate(foreign(mobilenet), own), own, owner)


@pytest.mark.parametrize(
    'respell',
    [
        lambda name: name,  # Conv1/Conv1/kernel:0, as a .h5 of weights has it
        lambda name: name.partition('/')[2][:-2],  # Conv1/kernel
        lambda name: 'model_weights/mobilenetv2_1.00_224/' + name.partition('/')[2],
        lambda name: name.partition('/')[2][:-2].replace('/', '.'),
        lambda name: name.replace('depthwise_kernel', 'kernel'),  # Keras 3
    ],
)
def test_mobilenet_of_keras(respell, mobilenet):
    given = {respell(k): v for k, v in torch_arrays(as_keras(mobilenet)).items()}
    assert_same(translate(given, in_a_model(mobilenet)), in_a_model(mobilenet), 'Keras', False)


def test_resnet_of_keras_whose_convolutions_have_a_bias(resnet):
    given = torch_arrays(as_keras_resnet(resnet))
    assert given['conv1_conv/conv1_conv/bias:0'].any()
    assert_same(translate(given, resnet), resnet, 'Keras', False)


def test_a_backbone_of_mmdet_alone_or_in_a_model(mobilenet):
    for given, own in ((mobilenet, in_a_model(mobilenet)), (in_a_model(mobilenet), mobilenet)):
        assert_same(translate(given, own), own, 'mmdet')
        assert foreign_names(given, own) is None


def test_a_backbone_in_the_model_of_somebody(resnet):
    for front in ('backbone.0.body.', 'model.encoder.'):
        given = {f'{front}{key}': value for key, value in resnet.items()}
        assert_same(translate(given, in_a_model(resnet)), in_a_model(resnet), 'mmdet')
        assert_same(translate(given, resnet), resnet, 'mmdet')


@pytest.mark.parametrize(
    'key, bare',
    [
        ('module.conv.weight', 'conv.weight'),
        ('_orig_mod.module.conv.weight', 'conv.weight'),
        ('module.module._orig_mod.conv.weight', 'conv.weight'),
        ('module.backbone._orig_mod.conv.weight', 'backbone.conv.weight'),
        ('neck.module.weight', 'neck.module.weight'),
        ('my_orig_mod.weight', 'my_orig_mod.weight'),
        ('n_averaged', 'n_averaged'),
    ],
)
def test_names_without_wrappers(key, bare):
    assert bare_name(key) == bare


def test_names_without_wrappers_are_those_of_torch():
    conv = torch.nn.Conv2d(1, 1, 1)
    averaged = torch.optim.swa_utils.AveragedModel(torch.compile(conv))
    assert [*map(bare_name, averaged.state_dict())] == ['n_averaged', *conv.state_dict()]


def test_the_true_names_of_torchvision():
    own = in_a_model(MobileNetV2().state_dict())
    own |= {'fc.weight': torch.zeros(1000, 1280), 'fc.bias': torch.zeros(1000)}
    given = {name: torch.zeros(shape) for name, shape in NAMES['mobilenet_v2'].items()}
    found = translate(given, own)
    assert (found.convention.owner, found.known, found.left_over) == ('torchvision', 314, [])
    assert {k: v.shape for k, v in found.state.items()} == {k: v.shape for k, v in own.items()}
    # A detector has no place for the classifier.
    del own['fc.weight'], own['fc.bias']
    assert translate(given, own).left_over == ['classifier.1.weight', 'classifier.1.bias']


def test_the_true_names_of_torchvision_and_mmpretrain_in_a_resnet():
    own = in_a_model(ResNet(18).state_dict())
    given = {name: torch.zeros(shape) for name, shape in NAMES['resnet18'].items()}
    found = translate(given, own)
    assert (found.convention.owner, found.left_over) == ('torchvision', ['fc.weight', 'fc.bias'])
    assert {k: v.shape for k, v in found.state.items()} == {k: v.shape for k, v in own.items()}
    # They are mmdet's, so a run takes them as they are.
    assert foreign_names(given, ResNet(18).state_dict()) is None
    given = {(f'head.{k}' if k.startswith('fc.') else f'backbone.{k}'): v for k, v in given.items()}
    heads = {'fc.weight': torch.zeros(1000, 512), 'fc.bias': torch.zeros(1000)}
    found = translate(given, own | heads)
    assert (found.convention.owner, found.left_over) == ('mmpretrain', [])
    assert set(found.state) == {*own, *heads}


def test_dense_layer_of_keras_is_turned(mobilenet):
    weight, bias = torch.rand(7, 1280), torch.rand(7)
    own = in_a_model(mobilenet) | {'fc.weight': weight, 'fc.bias': bias}
    given = torch_arrays(as_keras(mobilenet))
    given |= {'Logits/Logits/kernel:0': weight.t(), 'Logits/Logits/bias:0': bias}
    assert_same(translate(given, own), own, 'Keras', False)


def test_names_that_nobody_has(mobilenet):
    found = translate({'stem.kernel': torch.zeros(1), 'stem.weight': torch.zeros(1)}, mobilenet)
    assert (found.convention.owner, found.known) == ('mmdet', 0)
    assert foreign_names({'stem.weight': torch.zeros(1)}, mobilenet) is None


def theirs_of(package, name, **options):
    """A model of another package, which may not be there."""
    try:
        found = getattr(import_module(package), name)
    except Exception as error:  # torchvision for another torch raises a RuntimeError
        pytest.skip(f'{package} cannot be imported: {error}')
    torch.manual_seed(0)
    return randomized(found(**options))


def ours_of(backbone, theirs):
    own = backbone.state_dict()
    found = translate(theirs.state_dict(), own)
    assert set(found.state) == set(own)
    backbone.load_state_dict(found.state)
    backbone.eval()
    return backbone


@torch.no_grad()
def test_mobilenet_computes_what_torchvisions_does():
    theirs = theirs_of('torchvision.models', 'mobilenet_v2')
    ours, image = ours_of(MobileNetV2(out_indices=(7,)), theirs), torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(ours(image)[0], theirs.features(image))


@torch.no_grad()
def test_mobilenet_computes_what_mmpretrains_does():
    theirs = theirs_of('mmpretrain.models.backbones', 'MobileNetV2', out_indices=(2, 7))
    ours, image = ours_of(MobileNetV2(out_indices=(2, 7)), theirs), torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(ours(image), theirs(image))


@torch.no_grad()
def test_resnet_computes_what_torchvisions_does():
    theirs = theirs_of('torchvision.models', 'resnet50')
    ours, image = ours_of(ResNet(50, norm_eval=False), theirs), torch.rand(1, 3, 64, 64)
    x = image
    for name, part in theirs.named_children():
        x = x if name in ('avgpool', 'fc') else part(x)
    torch.testing.assert_close(ours(image)[-1], x)
