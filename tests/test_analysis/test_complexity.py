"""The paper's figures, each computed from the built modules."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

import dn_mmdet  # noqa: F401
from dn_mmdet.analysis import count_complexity

CONFIG = Path(__file__).resolve().parents[2] / 'configs/_base_/models/mbv2_classifier.py'


@pytest.mark.parametrize('norm_cfg, params, mult_adds', [
    (dict(type='BN'), 2.35, 299.62),
    (dict(type='SEBN', r=16), 3.73, 300.98),
    (dict(type='DNC', r=16, fuse='fc1'), 3.03, 301.02),
    (dict(type='DNC', r=16, fuse='fc2'), 3.03, 301.05),
    (dict(type='DNB', r=8, g=1), 3.72, 301.02),
    (dict(type='DNB', r=16, g=1), 3.03, 300.34),
    (dict(type='DNB', r=32, g=1), 2.69, 300.00),
    (dict(type='DNB', r=16, g=2), 3.07, 300.37),
    (dict(type='DNB', r=16, g=4), 3.14, 300.44),
    (dict(type='DNB', r=16, g='oup'), 4.36, 301.66),
], ids=lambda v: '-'.join(map(str, v.values())) if isinstance(v, dict) else None)
def test_mobilenet_v2_rows_of_tables_1_2_6_and_7(norm_cfg, params, mult_adds):
    config = Config.fromfile(CONFIG)
    config.model.backbone.norm_cfg = norm_cfg
    found = count_complexity(MODELS.build(config.model), (224, 224))
    assert abs(found.params / 1e6 - params) <= 0.005
    assert abs(found.mult_adds / 1e6 - mult_adds) <= 0.005


def test_norms_and_pooling_are_free_and_convolutions_and_layers_are_counted():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 5)).train()
    found = count_complexity(model, (6, 8))
    assert found.mult_adds == 6 * 8 * 4 * 3 * 9 + 4 * 5
    assert found.params == 4 * 27 + 4 + 8 + 25
    assert model.training
    # Buffers are not trained, and not counted.
    model.register_buffer('extra', torch.zeros(7))
    assert count_complexity(model, (6, 8)).params == found.params
