"""BCCD's configurations: the paper's schedule, the official split, both arms from BN weights."""

from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import MobileNetV2
from mmengine.config import Config

from dn_mmdet.engine import load_config
from dn_mmdet.engine.preflight import run_preflight
from tests.helpers.bccd import BCCD, NEEDS_BCCD
from tests.helpers.foreign import as_mmpretrain

ROOT = Path(__file__).resolve().parents[2] / 'configs/bccd'
CONFIGS = sorted(ROOT.glob('*.py'))


def test_there_are_four():
    assert [path.stem.removeprefix('ssdlite_mbv2_') for path in CONFIGS] == [
        'bn_bccd',
        'bn_bccd_160',
        'dnb_bccd',
        'dnb_bccd_160',
    ]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_recipe(path):
    config = Config.fromfile(path)
    assert config.train_cfg.max_epochs == 30
    assert config.param_scheduler[1].milestones == [18, 25, 28]
    assert (config.train_dataloader.batch_size, config.optim_wrapper.optimizer.lr) == (8, 0.02)
    size = (160, 160) if path.stem.endswith('160') else (320, 320)
    for part, split in (('train', 'trainval'), ('val', 'test'), ('test', 'test')):
        dataset = config[f'{part}_dataloader'].dataset
        assert dataset.type == 'XMLDataset'
        assert dataset.ann_file == f'ImageSets/Main/{split}.txt'
        assert [step.scale for step in dataset.pipeline if step.type == 'Resize'] == [size]
    assert config.test_evaluator.type == 'CocoMetric' and config.test_evaluator.ann_file is None
    assert config.allow_bn_checkpoint


@NEEDS_BCCD
@pytest.mark.parametrize('norm', ['bn', 'dnb'])
def test_both_arms_take_the_same_bn_weights(norm, tmp_path):
    """And nothing is wrong with the data but two boxes of no size."""
    weights = tmp_path / 'weights.pth'
    # As OpenMMLab publishes it: with a head, and mmpretrain's names.
    state = as_mmpretrain(MobileNetV2().state_dict())
    torch.save(dict(state_dict=state | {'head.fc.weight': torch.zeros(2, 2)}, meta={}), weights)
    config = load_config(
        str(ROOT / f'ssdlite_mbv2_{norm}_bccd_160.py'),
        {'data_root': f'{BCCD}/', 'model.backbone.init_cfg.checkpoint': str(weights)},
    )
    notes = [note for note in run_preflight(config, 'train') if 'boxes' in note]
    assert notes == [
        f'2 of 3943 boxes in the XML set {BCCD}/ImageSets/Main/trainval.txt are not used: 2 of '
        'zero size (first in BloodImage_00338.xml).'
    ]
