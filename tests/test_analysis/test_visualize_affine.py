import csv

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from dn_mmdet.analysis.visualize_affine import _first_and_last, find_images, visualize_affine
from dn_mmdet.figures.affine import shown_channels
from dn_mmdet.layers import DNB, DNC, SEBN
from dn_mmdet.layers.inspect import norm_layers, record_affine, summarize_affine
from dn_mmdet.utils.errors import UserError


def layer(cls=DNB, **options):
    torch.manual_seed(0)
    made = cls(16, r=4, **options)
    nn.init.normal_(made.sc.fc2_weight)
    nn.init.normal_(made.alpha_offset)
    nn.init.normal_(made.lambda_offset)
    made(torch.randn(8, 16, 5, 5) + 1)  # moves the running statistics
    return made


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'made',
    [
        layer(sc_input='raw'),
        layer(g='oup', sc_input='raw'),
        layer(),
        layer(DNC),
        layer(DNC, fuse='fc2'),
    ],
    ids=['g1', 'oup', 'normalized', 'dnc fc1', 'dnc fc2'],
)
def test_affine_is_what_the_layer_does(made, training):
    made.train(training)
    x = torch.randn(4, 16, 5, 5) * 2 + 1
    before = made.bn.running_mean.clone()
    affine = made.affine(x)
    assert torch.equal(made.bn.running_mean, before)
    dims = (0, 2, 3)
    mean, var = (
        (x.mean(dims), x.var(dims, unbiased=False))
        if training
        else (made.bn.running_mean, made.bn.running_var)
    )
    normalized = (x - mean[:, None, None]) / torch.sqrt(var + made.bn.eps)[:, None, None]
    expected = normalized * affine.alpha[:, :, None, None] + affine.shift[:, :, None, None]
    torch.testing.assert_close(made(x), expected, rtol=1e-4, atol=1e-4)


def test_only_layers_of_their_own_are_listed():
    model = nn.Sequential(DNB(8), SEBN(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False))
    assert list(norm_layers(model)) == ['0', '1', '2']


def test_records_are_those_of_every_sample_and_leave_nothing_behind():
    model = nn.Sequential(layer(g='oup'), nn.BatchNorm2d(16)).eval()
    nn.init.normal_(model[1].weight)
    x = torch.randn(3, 16, 5, 5)
    expected = model[0].affine(x)
    plain = model(x)
    with record_affine(model) as records:
        assert torch.equal(model(x), plain)
        model(x[:2])
    (alpha, shift, hidden), second = records['0']
    torch.testing.assert_close(alpha, expected.alpha)
    torch.testing.assert_close(shift, expected.shift)
    assert hidden.shape == (3, 4) and len(second[0]) == 2
    assert torch.equal(records['1'][0][0], model[1].weight.detach().expand(3, -1))
    assert not any(module._forward_hooks for module in model.modules())
    model(x)
    assert len(records['0']) == 2


def test_summary_counts_saturated_and_dead_units():
    alpha = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    hidden = torch.tensor([[0.001, 0.5, 0.2, 0.999], [0.002, 0.5, 0.7, 0.4]])
    found = summarize_affine(
        [(alpha[:1], -alpha[:1], hidden[:1]), (alpha[1:], -alpha[1:], hidden[1:])]
    )
    assert (found.samples, found.units, found.saturated, found.dead) == (2, 4, 1, 2)
    assert (found.alpha_mean, found.alpha_min, found.alpha_spread) == (2.0, 2.0, 0.5)
    assert (found.lambda_mean, found.lambda_spread) == (-2.0, 0.5)
    assert found.unit_spread == pytest.approx((0.0005 + 0.25 + 0.2995) / 4)


def test_every_fourth_of_1280_channels():
    assert list(shown_channels(1280)) == list(range(0, 1280, 4))
    assert len(shown_channels(320)) == 320 and len(shown_channels(24)) == 24


CONFIG = """
custom_imports = dict(imports=['dn_mmdet'])
default_scope = 'mmengine'
model = dict(type='ImageClassifier', num_classes=3, in_channels=1280,
             data_preprocessor=dict(type='ImgDataPreprocessor', mean=[128.] * 3, std=[64.] * 3),
             backbone=dict(type='MobileNetV2DN', widen_factor=0.25, out_indices=(7, ),
                           num_blocks=(1, ) * 7, norm_cfg=dict(type='DNB', r=16, g='oup')))
test_dataloader = dict(dataset=dict(type='ImageFolder', pipeline=[
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)),
    dict(type='PackClassInputs')]))
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A configuration, a checkpoint of it, and images in two class folders."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

    root = tmp_path_factory.mktemp('affine')
    (root / 'run.py').write_text(CONFIG)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(root / 'run.py').model)
    nn.init.normal_(model.backbone.conv2.bn.sc.fc2_weight, std=0.1)
    torch.save(dict(state_dict=model.state_dict(), meta={}), root / 'run.pth')
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog'):
        (root / 'images' / name).mkdir(parents=True)
        for i in range(3):
            image = rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)
            cv2.imwrite(str(root / 'images' / name / f'{i}.png'), image)
    return root


def test_images_are_grouped_by_class_or_one_by_one(place):
    groups = find_images([str(place / 'images')], per_class=2)
    assert {name: len(files) for name, files in groups.items()} == {'cat': 2, 'dog': 2}
    assert list(find_images([str(place / 'images/cat')])) == ['0.png', '1.png', '2.png']
    assert list(find_images([str(place / 'images/dog/1.png')])) == ['1.png']


def test_the_picture_and_the_table(place, tmp_path, capsys):
    out = visualize_affine(
        str(place / 'run.py'), str(place / 'run.pth'), [str(place / 'images')], out=str(tmp_path)
    )
    assert (out / 'affine.png').stat().st_size > 20_000
    rows = list(csv.DictReader((out / 'affine.csv').open()))
    assert len(rows) == 22 and {row['samples'] for row in rows} == {'6'}
    spread = {row['layer']: float(row['alpha_spread']) for row in rows}
    assert spread['backbone.conv2.bn'] > 0 and spread['backbone.conv1.bn'] == 0
    assert '| backbone.conv2.bn' in capsys.readouterr().out


def test_of_the_layers_that_ran_the_first_and_the_last_dynamic_norm_are_drawn():
    model = nn.Sequential(nn.BatchNorm2d(8), DNB(8), SEBN(8), DNB(8), DNB(8))
    assert _first_and_last(model, list('0123')) == ['1', '3']
    assert _first_and_last(model, list('012')) == ['1']
    assert _first_and_last(model, list('02')) == ['0', '2']


def test_the_checkpoint_is_read_once(place, tmp_path, monkeypatch):
    read, load = [], torch.load
    monkeypatch.setattr(
        torch, 'load', lambda *args, **kw: read.append(args[0]) or load(*args, **kw)
    )
    images = [str(place / 'images/cat/0.png')]
    visualize_affine(str(place / 'run.py'), str(place / 'run.pth'), images, out=str(tmp_path))
    assert read == [str(place / 'run.pth')]


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(images=['nowhere']), 'the image nowhere does not exist'),
        (
            dict(layers=['backbone.conv3.bn']),
            'backbone.conv3.bn is not a norm layer of the model; its norm layers are: .*conv1',
        ),
        (dict(checkpoint='gone.pth'), 'gone.pth .* does not exist'),
        (dict(config='gone.py'), 'gone.py'),
        (dict(cfg_options={'model.type': 'ImageClasifier'}), "did you mean 'ImageClassifier'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(place, tmp_path, change, words):
    arguments = (
        dict(
            config=str(place / 'run.py'),
            checkpoint=str(place / 'run.pth'),
            images=[str(place / 'images')],
            out=str(tmp_path / 'out'),
        )
        | change
    )
    with pytest.raises(UserError, match=words):
        visualize_affine(**arguments)
    assert not (tmp_path / 'out').exists()


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(UserError, match='holds no image'):
        find_images([str(tmp_path)])
