"""A run says whose names a file has, and what its weights were trained with."""

import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope

from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.engine.preflight.pixels import training_notes
from dn_mmdet.utils.errors import UserError
from tests.helpers.foreign import as_mmpretrain, as_torchvision, randomized
from tests.helpers.tiny import REPOSITORY, write_classifier, write_config

INIT = 'model.backbone.init_cfg'
CONVERT = 'tools/model_converters/bn_to_dnb.py tiny.py weights.pth'
ADDRESS = 'mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth'


@pytest.fixture(scope='module')
def weights():
    torch.manual_seed(0)
    return randomized(MobileNetV2(widen_factor=0.5)).state_dict()


@pytest.fixture(autouse=True)
def config(place):
    """tiny.py, with a backbone from a file."""
    return write_config(place, more='model = dict()')


def pretrained(path='weights.pth', prefix='backbone.'):
    return {f'{INIT}.checkpoint': path, f'{INIT}.prefix': prefix}


def told(config, options):
    with pytest.raises(UserError) as error:
        run_preflight(load_config(config, options), 'train')
    return str(error.value)


@pytest.mark.parametrize(
    'options', [{'load_from': 'weights.pth', INIT: None}, pretrained(), pretrained(prefix=None)]
)
def test_names_of_torchvision(options, weights, place):
    torch.save(as_torchvision(weights), 'weights.pth')
    for more in ({}, {'allow_bn_checkpoint': True}):
        sentence = told('tiny.py', options | more)
        assert "weights.pth has torchvision's names of a MobileNetV2 (as features.0.0." in sentence
        assert f'`python {CONVERT}`' in sentence
    write_config(place, 'bn', more='model = dict()')
    assert f'`python {CONVERT} --keep-bn`' in told('tiny.py', options)


def test_files_of_keras(place):
    (place / 'weights.npz').touch()
    sentence = told('tiny.py', pretrained('weights.npz'))
    assert f'weights.npz of {INIT} is not a checkpoint of torch' in sentence
    assert 'bn_to_dnb.py CONFIG weights.npz' in sentence


def test_names_of_mmpretrain_load_into_our_backbone(weights, place):
    torch.save(as_mmpretrain(weights) | {'head.fc.weight': torch.zeros(9, 9)}, 'weights.pth')
    sentence = told('tiny.py', pretrained())
    assert 'weights.pth has BN where the model of tiny.py has DNB, in 52 norm layers' in sentence
    options = pretrained() | {'allow_bn_checkpoint': True}
    options['model.backbone.norm_cfg.eps'] = 1e-5
    config = load_config('tiny.py', options)
    assert run_preflight(config, 'train') == []
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    backbone, image = MobileNetV2(widen_factor=0.5, out_indices=(7,)), torch.rand(1, 3, 64, 64)
    backbone.load_state_dict(weights)
    backbone.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model.backbone.eval()(image)[-1], backbone(image)[-1], rtol=1e-4, atol=1e-4
        )


def test_names_of_mmpretrain_in_a_whole_classifier(weights, place):
    """The head is called something else, and so the file does not load as it is."""
    write_classifier(place, name='tiny.py')
    state = as_mmpretrain(weights)
    state |= {'head.fc.weight': torch.zeros(10, 1280), 'head.fc.bias': torch.zeros(10)}
    torch.save(state, 'weights.pth')
    config = load_config('tiny.py', {'load_from': 'weights.pth'})
    model = MODELS.build(config.model)
    from dn_mmdet.engine.preflight.checkpoint import check_test_checkpoint

    with pytest.raises(UserError, match="mmpretrain's names of a MobileNetV2 .*bn_to_dnb.py"):
        check_test_checkpoint('weights.pth', model, config)


@pytest.mark.parametrize('norm', ['bn', 'dnb'])
def test_coco_from_imagenet_by_its_address(norm, place, monkeypatch):
    """With the file where torch keeps what it fetched: the names are those of mmpretrain."""
    monkeypatch.setenv('TORCH_HOME', str(place / 'torch'))
    (place / 'torch/hub/checkpoints').mkdir(parents=True)
    state = as_mmpretrain(randomized(MobileNetV2()).state_dict())
    torch.save(
        dict(state_dict=state | {'head.fc.weight': torch.zeros(1000, 1280)}, meta={}),
        place / 'torch/hub/checkpoints' / ADDRESS,
    )
    from tests.helpers.tiny import CLASSES

    options = {
        'data_root': f'{place}/data/',
        'train_dataloader.batch_size': 4,
        'train_dataloader.dataset.metainfo': dict(classes=CLASSES),
        'val_dataloader.dataset.metainfo': dict(classes=CLASSES),
        'test_dataloader.dataset.metainfo': dict(classes=CLASSES),
        'model.bbox_head.num_classes': len(CLASSES),
    }
    config = load_config(f'{REPOSITORY}/configs/ssdlite_mbv2_{norm}_in1k_coco.py', options)
    notes = run_preflight(config, 'train')
    assert not [note for note in notes if 'trained' in note or 'match' in note]
    # It was read, and another eps or other pixels are told.
    config.model.backbone.norm_cfg.eps = 1e-3
    config.model.data_preprocessor.std = [1, 1, 1]
    notes = [note for note in run_preflight(config, 'train') if ADDRESS in note]
    assert any(
        'eps=1e-05 in the BatchNorms of the backbone, which has eps=0.001' in n for n in notes
    )
    assert any(
        'std 58.395, 57.12, 57.375, and model.data_preprocessor gives RGB' in n for n in notes
    )
    assert len(notes) == 2
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    own = model.backbone.state_dict()
    key = 'backbone.layer2.1.conv.0.conv.weight'
    assert torch.equal(own['layer2.1.expand_conv.conv.weight'], state[key])


class Part(BaseModule):
    """A model that no library has names for."""


@pytest.mark.parametrize(
    'meta, words',
    [
        (dict(training=dict(mean=[127.5], std=[127.5], rgb=True)), 'mean 127.5 and std 127.5, and'),
        (
            dict(cfg='model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6]))'),
            'BGR pixels with mean 1, 2, 3 and std 4, 5, 6, and model.data_preprocessor gives RGB',
        ),
        (dict(training=dict(mean='no', std=[1]), cfg='model = open("hacked", "w")'), None),
        (dict(training=dict(mean=[0.0, 1], std=[1, 1], rgb=True)), None),
        (3, None),
    ],
)
def test_what_a_checkpoint_says_of_its_pixels(meta, words, place):
    config = load_config(f'{REPOSITORY}/configs/digits/mbv2_dnb_digits.py')
    if words is None and isinstance(meta, dict) and len(meta) == 1:
        config.model.data_preprocessor = dict(mean=[0, 1], std=[1, 1], bgr_to_rgb=True)
    notes = training_notes(dict(meta=meta), {'w': torch.zeros(1)}, config, Part(), 'a.pth')
    assert len(notes) == (words is not None)
    assert not words or words in notes[0]
    assert not (place / 'hacked').exists()
