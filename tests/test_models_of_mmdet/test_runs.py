"""mmdet's detectors with DN-B, written as in docs/detectors.md, in whole runs on tiny data."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.registry import init_default_scope

from dn_mmdet.engine import test as evaluate
from dn_mmdet.engine import train
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.layers import DNB
from tests.helpers.detectors import CONFIGS
from tests.helpers.tiny import CLASSES, write_coco

PAGE = Path(__file__).parents[2] / 'docs/detectors.md'
YOLOX, FASTER_RCNN = re.findall(r'^```python\n(_base_.*?)^```$', PAGE.read_text(), re.M | re.S)

# The data, and a run that is short; what follows comes last in the file.
DATA = """
data_root = '{root}/'
metainfo = dict(classes={classes})
resize = dict(type='Resize', scale=(64, 64), keep_ratio=False)
boxes = dict(type='LoadAnnotations', with_bbox=True)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
pipeline = [
    dict(type='LoadImageFromFile'), resize, boxes, dict(type='PackDetInputs', meta_keys=meta_keys)
]
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
common = dict(type='CocoDataset', data_root=data_root, metainfo=metainfo, pipeline=pipeline)
train_dataloader = dict(
    _delete_=True, **loader, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**common, ann_file='annotations/instances_train2017.json',
                 data_prefix=dict(img='train2017/')))
val_dataloader = dict(
    _delete_=True, **loader, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**common, ann_file='annotations/instances_val2017.json',
                 data_prefix=dict(img='val2017/'), test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs={epochs}, val_interval=2)
param_scheduler = [dict(type='ConstantLR', factor=0.1, by_epoch=False, begin=0, end=9)]
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
{more}
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('detectors')
    write_coco(folder / 'data', train=4, val=2)
    return folder


def write(folder, block, more, epochs):
    data = DATA.format(root=folder / 'data', classes=CLASSES, epochs=epochs, more=more)
    path = folder / f'{epochs}.py'
    path.write_text(block + data)
    return str(path)


def test_yolox_trains_resumes_is_evaluated_and_infers(folder):
    """With the average of the weights, whose buffers it averages too, that YOLOX is tested with."""
    more = """
custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.01, update_buffers=True)]
model.update(
    bbox_head=dict(norm_cfg=norm, num_classes=10),
    data_preprocessor=dict(batch_augments=None),
    test_cfg=dict(score_thr=0.0),
)
"""
    work = folder / 'yolox'
    work.mkdir()
    (work / 'data').symlink_to(folder / 'data')
    train(write(work, YOLOX, more, 1), work_dir=str(work / 'run'))
    path = write(work, YOLOX, more, 2)
    runner = train(path, work_dir=str(work / 'run'), resume='auto')
    assert (runner.epoch, runner.iter) == (2, 4)

    checkpoint = str(work / 'run/epoch_2.pth')
    saved = torch.load(checkpoint, weights_only=False)
    assert 'ema_state_dict' in saved
    norms = {name: m for name, m in runner.model.named_modules() if isinstance(m, DNB)}
    assert len(norms) == 74
    assert any(norm.sc.fc2_weight.any() for norm in norms.values())
    for name, norm in norms.items():  # EMA leaves the offsets as they are
        assert torch.equal(saved['state_dict'][f'{name}.alpha_offset'], norm.alpha_offset.cpu())

    metrics = evaluate(path, checkpoint, work_dir=str(work / 'run'))
    assert 0 <= metrics['coco/bbox_mAP'] <= 1

    image = str(next((folder / 'data/val2017').iterdir()))
    found = DetInferencer(path, checkpoint, device='cpu', show_progress=False)(image)
    assert found['predictions'][0]['bboxes']


def test_faster_rcnn_trains_all_its_norms(folder):
    more = """
model['backbone'].update(init_cfg=None)
model.update(roi_head=dict(bbox_head=dict(num_classes=10)))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001), clip_grad=dict(max_norm=10),
    accumulative_counts=2)
"""
    work = folder / 'faster'
    work.mkdir()
    (work / 'data').symlink_to(folder / 'data')
    runner = train(write(work, FASTER_RCNN, more, 1), work_dir=str(work / 'run'))
    norms = [m for m in runner.model.modules() if isinstance(m, DNB)]
    assert len(norms) == 53
    assert all(norm.sc.fc2_weight.any() and norm.bn.num_batches_tracked == 2 for norm in norms)
    log = next((work / 'run').glob('*/*.log')).read_text()
    assert 'dynamic norms are not trained' not in log


def test_preflight_leaves_the_configuration_as_it_is():
    """DETR's head writes a tensor into its part, from which it cannot be built again."""
    cfg = Config.fromfile(f'{CONFIGS}/detr/detr_r50_8xb2-150e_coco.py')
    before = deepcopy(cfg.model)
    init_default_scope('mmdet')
    assert PlannedRun(cfg, 'train').model is not None
    assert repr(cfg.model) == repr(before)
