"""Weights that others trained become checkpoints of models with DN-B, or a sentence."""

import os
import re
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from dn_mmdet.analysis.bn_to_dnb import bn_to_dnb
from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.runs import publish
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.foreign import as_keras, as_mmpretrain, as_torchvision, randomized
from tests.helpers.tiny import CLASSES, write_classifier, write_config
from tests.helpers.tool_runs import place, refused  # noqa: F401
from tests.helpers.torch_versions import needs_torch, nothing_allowed

TOOL = 'model_converters/bn_to_dnb.py'
IMAGES = 'data/val2017'


@pytest.fixture(scope='module')
def weights():
    """A MobileNetV2 of half the width, as the tiny configurations have it."""
    torch.manual_seed(0)
    return randomized(MobileNetV2(widen_factor=0.5)).state_dict()


@pytest.fixture
def here(place, weights):  # noqa: F811
    """The files that somebody may have, and configurations of a detector and a classifier."""
    write_classifier(place)
    head = {'weight': torch.rand(len(CLASSES), 1280), 'bias': torch.rand(len(CLASSES))}
    for name, state, fc in (
        ('mmpretrain', as_mmpretrain(weights), 'head.fc'),
        ('torchvision', as_torchvision(weights), 'classifier.1'),
    ):
        torch.save(state | {f'{fc}.{k}': v for k, v in head.items()}, place / f'{name}.pth')
    np.savez(place / 'keras.npz', **as_keras(weights))
    return place


def loaded(path):
    """Under torch's own rules for files that nobody vouches for, with nothing allow-listed."""
    with nothing_allowed():
        return torch.load(path, weights_only=True)


def with_bn(weights, name):
    """A norm of the file in the terms of DN-B."""
    return {
        'alpha_offset': weights[f'{name}.weight'],
        'lambda_offset': weights[f'{name}.bias'],
        'bn.running_mean': weights[f'{name}.running_mean'],
        'bn.running_var': weights[f'{name}.running_var'],
    }


@pytest.mark.parametrize('name', ['mmpretrain.pth', 'torchvision.pth', 'keras.npz'])
def test_backbone_of_a_detector(name, here, weights, capsys):
    out = bn_to_dnb('tiny.py', name, report=[IMAGES])
    said = capsys.readouterr().out
    content = loaded(out)
    assert str(out) == f'checkpoints/{name.split(".")[0]}_dnb.pth'
    assert set(content) == {'meta', 'state_dict'}
    assert content['meta']['weights'] == 'backbone alone, converted from BatchNorm'
    assert content['meta']['source'] == name
    state = content['state_dict']
    assert {key.partition('.')[0] for key in state} == {'backbone'}
    for place_, key in (('conv1.bn', 'conv1.bn'), ('layer3.1.linear_conv.bn',) * 2):
        for inner, value in with_bn(weights, key).items():
            torch.testing.assert_close(state[f'backbone.{place_}.{inner}'], value)
        assert not state[f'backbone.{place_}.sc.fc2_weight'].any()
    key = 'layer2.0.depthwise_conv.conv.weight'
    assert torch.equal(state[f'backbone.{key}'], weights[key])
    assert state._metadata['backbone.conv1.bn']['norm'] == 'DNB'
    # The report: what the outputs are, and that they hardly differ.
    rows = re.findall(r'\| feature \d +\| (\S+) +\| (\S+) +\|', said)
    assert len(rows) == 2
    assert all(float(apart) < 1e-4 and float(value) > 0.01 for apart, value in rows)
    assert 'backbone: 260 of the 260 keys of the model match' in said
    assert 'neck: not in the file; left out' in said
    left = dict.fromkeys(('mmpretrain.pth',), 'head.fc.weight') | {
        'torchvision.pth': 'classifier.1'
    }
    assert name not in left or f'left over 2 ({left[name]}' in said
    # A run takes it, and only Keras' pixels are others.
    write_config(here, more='model = dict()')
    options = {'model.backbone.init_cfg.checkpoint': str(out)}
    notes = run_preflight(load_config('tiny.py', options), 'train')
    pixels = [note for note in notes if 'RGB pixels with mean 127.5, 127.5, 127.5' in note]
    assert len(pixels) == (name == 'keras.npz')
    eps = [note for note in notes if 'was trained with eps=1e-05' in note]
    assert len(eps) == (name != 'keras.npz')


def test_whole_classifier_and_the_same_bytes(here):
    out = bn_to_dnb('classifier.py', 'torchvision.pth', 'a/one.pth')
    torch.rand(1)  # the process may have drawn numbers
    again = bn_to_dnb('classifier.py', 'torchvision.pth', 'two.pth')
    assert out.read_bytes() == again.read_bytes()
    given, state = torch.load('torchvision.pth'), loaded(out)['state_dict']
    assert torch.equal(state['fc.weight'], given['classifier.1.weight'])
    # What is known of the training stays when it is published.
    assert loaded(publish(again, 'published'))['meta']['training']['eps'] == 1e-5
    assert set(state) == set(MODELS.build(load_config('classifier.py').model).state_dict())


def test_a_classifier_for_other_classes_is_left_out(here, capsys):
    state = torch.load('mmpretrain.pth') | {'head.fc.weight': torch.rand(1000, 1280)}
    torch.save(dict(state_dict=state, meta={}), 'thousand.pth')
    state = loaded(bn_to_dnb('classifier.py', 'thousand.pth'))['state_dict']
    assert {key.partition('.')[0] for key in state} == {'backbone'}
    assert 'of a different shape (weight); left out' in capsys.readouterr().out


def test_the_baseline_gets_the_same_weights_with_bn(here, weights):
    write_config(here, 'bn', name='bn.py')
    for config in ('tiny.py', 'bn.py'):
        state = loaded(bn_to_dnb(config, 'torchvision.pth', keep_bn=True))['state_dict']
        assert set(state) == {f'backbone.{key}' for key in weights}
        assert all(torch.equal(state[f'backbone.{key}'], weights[key]) for key in weights)


def test_a_checkpoint_of_this_package_and_its_metadata(here, capsys):
    """A whole detector with BN, saved by a run."""
    config = write_config(here, 'bn', name='bn.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = randomized(MODELS.build(load_config(str(config)).model))
    meta = dict(dataset_meta=dict(classes=CLASSES), training=dict(mean=[0], std=[1], rgb=True))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), 'bn.pth')
    content = loaded(bn_to_dnb('tiny.py', 'bn.pth', 'dnb.pth', report=[f'{IMAGES}/000.jpg']))
    assert content['meta']['weights'] == 'whole model, converted from BatchNorm'
    assert content['meta']['dataset_meta'] == dict(classes=list(CLASSES))
    assert content['meta']['training'] == meta['training']
    said = capsys.readouterr().out
    assert '--cfg-options load_from=dnb.pth' in said and 'output 0' in said
    with DefaultScope.overwrite_default_scope('mmdet'):
        dnb = MODELS.build(load_config('tiny.py').model).eval()
    load_checkpoint(dnb, 'dnb.pth', strict=True)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip_strict(dnb(image), model(image)):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def prefixed(front, state):
    return {f'{front}{key}': value for key, value in state.items()}


@pytest.mark.parametrize(
    'wrap, under',
    [
        (lambda state: {'model': state, 'args': Namespace(lr=0.1), 'epoch': 3}, 'model'),
        (lambda state: {'model': prefixed('_orig_mod.', state)}, 'model'),
        (
            lambda state: {
                'model': {key: value * 0 for key, value in state.items()},
                'model_ema': {'n_averaged': torch.tensor(3)} | prefixed('module.module.', state),
            },
            'model_ema',
        ),
        (
            lambda state: {
                'state_dict': {key: value * 0 for key, value in state.items()},
                'state_dict_ema': prefixed('module._orig_mod.', state),
            },
            'state_dict_ema',
        ),
        (lambda state: {'state_dict': {'model': state}}, 'state_dict.model'),
    ],
    ids=['torchvision', 'compiled', 'averaged', 'timm', 'twice'],
)
def test_what_training_scripts_put_around_the_weights(wrap, under, here, capsys):
    torch.save(wrap(torch.load('torchvision.pth')), 'wrapped.pth')
    state = loaded(bn_to_dnb('classifier.py', 'wrapped.pth'))['state_dict']
    assert f'wrapped.pth, {under!r} in it: names of torchvision, 314 of ' in capsys.readouterr().out
    plain = loaded(bn_to_dnb('classifier.py', 'torchvision.pth'))['state_dict']
    assert all(torch.equal(state[key], value) for key, value in plain.items())


def half(state):
    return dict(list(state.items())[: len(state) // 2])


@pytest.mark.parametrize(
    'change, words',
    [
        (
            lambda s: {f'net.{i}.w': v for i, v in enumerate(s.values())},
            ["names that are not known for the backbone of tiny.py, as 'net.0.w'", 'Keras'],
        ),
        (half, ['torchvision', 'of the 260 keys of the model match', 'are missing (layer']),
        (
            lambda s: s | {'features.0.0.weight': torch.zeros(8, 3, 3, 3)},
            ['1 is of a different shape (conv1.conv.weight)'],
        ),
        (
            lambda s: s | {'features.0.1.bias': torch.full((16,), torch.nan)},
            ['backbone.conv1.bn.lambda_offset holds NaN'],
        ),
        (
            lambda s: {key: value for key, value in s.items() if 'running' not in key},
            ['changed.pth has no running statistics', 'GN, IN or LN'],
        ),
        (lambda s: {'epoch': 3}, ['holds no weights']),
        (
            lambda s: s | {'features.0.1.running_var': torch.full((16,), -0.5)},
            ['backbone.conv1.bn.running_var holds -0.5, and a variance is never negative'],
        ),
        (
            lambda s: s | {'features.0.0.weight': torch.ones(16, 3, 3, 3, dtype=torch.int8)},
            ['backbone.conv1.conv.weight is torch.int8 where floating-point numbers belong'],
        ),
        pytest.param(
            lambda s: (
                s | {'features.0.1.running_var': torch.full((16,), -1.0).to(torch.float8_e5m2)}
            ),
            ['backbone.conv1.bn.running_var holds -1, and a variance is never negative'],
            marks=needs_torch((2, 2), 'does not save float8'),
        ),
        (
            lambda s: s | {'features.0.1.weight': torch.ones(16, device='meta')},
            ["backbone.conv1.bn.weight is on the device 'meta', a shape without numbers"],
        ),
    ],
    ids=[
        *('unknown', 'half', 'shape', 'nan', 'statistics', 'none', 'variance', 'integers'),
        *('float8', 'meta'),
    ],
)
def test_other_weights(change, words, here, refused):  # noqa: F811
    torch.save(change(torch.load('torchvision.pth')), 'changed.pth')
    sentence = refused(TOOL, 'tiny.py', 'changed.pth', folder=here)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    'arguments, words',
    [
        (('bn.py', 'torchvision.pth'), 'the model of bn.py has no DN-B'),
        (('tiny.py', 'gone.pth'), 'gone.pth of the command line does not exist'),
        (('tiny.py', 'gone.h5'), 'gone.h5 does not exist'),
        (('gone.py', 'torchvision.pth'), 'there is no configuration file gone.py'),
        (('tiny.py', 'data'), 'data of the command line is a folder'),
        (('tiny.py', 'torchvision.pth', './torchvision.pth'), 'is the file that the weights'),
        (('tiny.py', 'torchvision.pth', 'a.txt'), 'a.txt must end in .pth'),
        (('tiny.py', 'torchvision.pth', '--report', 'empty'), 'empty holds no image'),
        (('tiny.py', 'torchvision.pth', '--report', 'x.jpg'), 'the image x.jpg does not exist'),
        (('tiny.py', 'torchvision.pth', '--report', 'tiny.py'), 'tiny.py'),
    ],
)
def test_bad_arguments(arguments, words, here, refused):  # noqa: F811
    write_config(here, 'bn', name='bn.py')
    (here / 'empty').mkdir()
    assert words in refused(TOOL, *arguments, folder=here)


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_out_is_a_link_to_the_weights(link, here, refused):  # noqa: F811
    link('torchvision.pth', 'link.pth')
    sentence = refused(TOOL, 'tiny.py', 'torchvision.pth', 'link.pth', folder=here)
    assert 'link.pth is the file that the weights are read from' in sentence


def test_what_already_has_dnb(here, refused):  # noqa: F811
    bn_to_dnb('tiny.py', 'torchvision.pth', 'dnb.pth')
    assert 'dnb.pth already has DNB' in refused(TOOL, 'tiny.py', 'dnb.pth', folder=here)
