import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from dn_mmdet.analysis.static_affine import hold_affine, static_affine
from dn_mmdet.engine import test as run_test
from dn_mmdet.layers import DNB, DNC
from dn_mmdet.layers.inspect import mean_affine
from dn_mmdet.paths import configs_root, tools_root
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict

CONFIG = """
_base_ = '{configs}/digits/mbv2_ablation_digits.py'
model = dict(num_classes=2, backbone=dict(norm_cfg=dict(_delete_=True, {norm})))
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(
    **loader, dataset=dict(data_root='{root}/images', data_prefix=dict(img_path='')))
test_dataloader = val_dataloader
"""


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        DNB(8, r=2, g='oup'),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        DNB(8, r=2),
        DNC(8, r=2),
    )
    for layer in (model[1], model[4], model[5]):
        nn.init.normal_(layer.sc.fc2_weight)
    model(torch.randn(8, 3, 9, 9))
    return model.eval()


def norms(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, (DNB, DNC))}


def test_held_layers_do_the_mean_of_what_they_did_to_each_sample():
    model = network()
    images = torch.randn(6, 3, 9, 9)
    with torch.no_grad(), mean_affine(norms(model)) as means:
        model(images[:4])
        model(images[4:])  # the last batch of a test may be smaller
    hidden = model[1](model[0](images))
    wanted = {1: model[1].affine(model[0](images)), 4: model[4].affine(model[3](model[2](hidden)))}
    hold_affine(norms(model), means)
    assert len(means) == 3
    for place, affine in wanted.items():
        assert affine.alpha.std(0).max() > 1e-3
        held = model[place].affine(torch.randn(5, 8, 4, 4))
        for now, before in zip_strict(held[:2], affine[:2]):
            torch.testing.assert_close(now, before.mean(0).expand(5, -1))


def test_one_image_is_its_own_mean_and_no_hook_stays():
    model = network()
    image = torch.randn(1, 3, 9, 9)
    with torch.no_grad(), mean_affine(norms(model)) as means:
        before = model(image)
    hold_affine(norms(model), means)
    torch.testing.assert_close(model(image), before, rtol=1e-4, atol=1e-4)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Grey images, dark or bright; a network whose last norm alone can tell them apart."""
    for label, level in enumerate((40, 200)):
        folder = tmp_path / 'images' / str(label)
        folder.mkdir(parents=True)
        for i in range(3):
            noise = np.random.default_rng(i).integers(-9, 9, (40, 40, 3))
            cv2.imwrite(str(folder / f'{i}.png'), (level + noise).astype(np.uint8))
    config = tmp_path / 'run.py'
    config.write_text(CONFIG.format(configs=configs_root(), root=tmp_path, norm="type='DNB'"))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    for module in model.modules():
        if isinstance(module, DNB):
            nn.init.normal_(module.sc.fc2_weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'run.pth')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_both_are_tested_as_they_are(place, monkeypatch, capsys):
    tool = str(tools_root() / 'analysis_tools/static_affine.py')
    monkeypatch.setattr(sys, 'argv', [tool, 'run.py', 'run.pth', '--out', 'found.json'])
    predicted = []
    forward = DNB.forward
    monkeypatch.setattr(
        DNB,
        'forward',
        lambda layer, x: (
            predicted.append(layer.affine(x).alpha.std(0).max().item()) or forward(layer, x)
        ),
    )
    runpy.run_path(tool, run_name='__main__')
    # Layer by layer and batch by batch, first with scales of each image's own, then without.
    half = len(predicted) // 2
    assert max(predicted[:half]) > 1e-3 and max(predicted[half:]) == 0
    found = json.loads((place / 'found.json').read_text())
    assert list(found) == ['dynamic', 'static']
    assert found['dynamic'] == run_test('run.py', 'run.pth')
    text = capsys.readouterr().out
    assert '| metric' in text and f'{found["static"]["accuracy/top1"]:.3f}' in text


def test_a_model_without_such_layers_is_refused(place):
    config = place / 'bn.py'
    config.write_text(CONFIG.format(configs=configs_root(), root=place, norm="type='BN'"))
    torch.save(
        dict(state_dict=MODELS.build(Config.fromfile(config).model).state_dict(), meta={}),
        place / 'bn.pth',
    )
    with pytest.raises(UserError, match='bn.py has no dynamic norm'):
        static_affine('bn.py', 'bn.pth')
    with pytest.raises(UserError, match='gone.pth'):
        static_affine('run.py', 'gone.pth')
