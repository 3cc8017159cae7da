"""What freezes BatchNorms in mmdet's backbones does the same to DN-B."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dn_mmdet import DNB
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.detectors import DNB_16, build, model_config

BACKBONES = {
    'ResNet': 'retinanet/retinanet_r18_fpn_1x_coco.py',
    'CSPDarknet': 'yolox/yolox_tiny_8xb8-300e_coco.py',
    'CSPNeXt': 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    'MobileNetV2': 'yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco.py',
}
SWITCHES = {
    'frozen_stages': dict(frozen_stages=1, norm_eval=False),
    'norm_eval': dict(frozen_stages=-1, norm_eval=True),
    'requires_grad': dict(frozen_stages=-1, norm_eval=False, requires_grad=False),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_the_same_norms_are_trained_and_counted(name):
    for switches in SWITCHES.values():
        reference, ours = (_backbone(name, norm, **switches) for norm in ({}, DNB_16))
        x = torch.randn(2, 3, 64, 64)
        _counting(reference, x)
        ours.load_state_dict(reference.state_dict())
        for model in (ours, reference):
            model.eval()  # which returns None, of some of them
        with torch.no_grad():
            for got, wanted in zip_strict(ours(x), reference(x)):
                torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
        trained, counting = _trained(ours), _counting(ours, x)
        assert trained == _trained(reference) and counting == _counting(reference, x)
        assert bool(trained) == ('requires_grad' not in switches)
        assert bool(counting) != switches['norm_eval']
        if switches['frozen_stages'] == 1:
            assert len(counting) < len(_norms(ours))


def _backbone(name, norm, requires_grad=True, **switches):
    cfg = model_config(BACKBONES[name], norm).backbone
    cfg.update(switches)
    cfg.norm_cfg.requires_grad = requires_grad
    torch.manual_seed(0)
    return build(cfg)


def _norms(model):
    """Without the BatchNorms inside of DN-B."""
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (DNB, _BatchNorm))
    }
    return {
        name: norm
        for name, norm in norms.items()
        if not isinstance(norms.get(name.rpartition('.')[0]), DNB)
    }


def _trained(model):
    """Names of the norms with a parameter that has a gradient, in training."""
    model.train()
    return {
        name
        for name, norm in _norms(model).items()
        if any(parameter.requires_grad for parameter in norm.parameters())
    }


def _counting(model, x):
    """Names of the norms whose running statistics a batch changes."""
    model.train()

    def means():
        return {
            name: getattr(norm, 'bn', norm).running_mean.clone()
            for name, norm in _norms(model).items()
        }

    before = means()
    with torch.no_grad():
        model(x)
    return {name for name, mean in means().items() if not torch.equal(mean, before[name])}
