"""Detectors of mmdet with DN-B in place of BatchNorm: they train, predict and reload."""

import pytest
import torch
from mmengine.model.utils import convert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from torch.nn.modules.batchnorm import _BatchNorm

from dn_mmdet import DNB
from tests.helpers.detectors import build, images_with_boxes, model_config

RESNET_FROZEN = ('backbone.bn1', 'backbone.layer1.')
# Configuration, the number of DN-Bs, what its configuration does not train or does not use, and
# the BatchNorms that are not for norm_cfg to choose.
DETECTORS = {
    'RetinaNet': ('retinanet/retinanet_r50_fpn_1x_coco.py', 53, RESNET_FROZEN, ()),
    'Faster R-CNN': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 53, RESNET_FROZEN, ()),
    'Mask R-CNN': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 53, RESNET_FROZEN, ()),
    'FCOS': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 53, ('backbone.',), ()),
    'YOLOX': ('yolox/yolox_tiny_8xb8-300e_coco.py', 74, (), ()),
    'RTMDet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 76, (), ()),
    'SSDLite': ('ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', 76, (), ()),
    'YOLOv3': ('yolo/yolov3_mobilenetv2_8xb24-ms-416-300e_coco.py', 72, ('backbone.conv2.',), ()),
    'CenterNet': ('centernet/centernet_r18_8xb16-crop512-140e_coco.py', 20, (), ('neck.',)),
    'DETR': ('detr/detr_r50_8xb2-150e_coco.py', 53, ('backbone.',), ()),
}
# One of mmdet's models each: gradients of several batches, bfloat16, statistics of all processes.
ACCUMULATED, MIXED, SYNCED = 'YOLOv3', 'FCOS', 'RTMDet'


@pytest.mark.parametrize('name', DETECTORS)
def test_trains_predicts_and_reloads(name):
    config, number, still, left = DETECTORS[name]
    cfg = model_config(config)
    if name == 'SSDLite':
        cfg.bbox_head.type = 'SSDLiteHead'  # mmdet's own cannot predict
    torch.manual_seed(0)
    model = build(cfg)
    norms = {key: module for key, module in model.named_modules() if isinstance(module, DNB)}
    assert len(norms) == number
    others = [
        key
        for key, module in model.named_modules()
        if isinstance(module, _BatchNorm) and key.rpartition('.')[0] not in norms
    ]
    assert all(key.startswith(left) for key in others) and bool(others) == bool(left)

    if name == SYNCED:
        model = convert_sync_batchnorm(model, 'torch')
        norms = {key: module for key, module in model.named_modules() if isinstance(module, DNB)}
        assert all('sync=True' in repr(norm) for norm in norms.values())
    _train(model.train(), name)
    for key, norm in norms.items():
        for part, parameter in norm.named_parameters():
            where = f'{key}.{part}'
            assert (parameter.grad is None) == where.startswith(still), where
            assert parameter.isfinite().all(), where
    moved = [key for key, norm in norms.items() if norm.sc.fc2_weight.any()]
    assert not any(key.startswith(still) for key in moved)
    # In images this small some levels of a head have no boxes.
    assert len(moved) >= len([key for key in norms if not f'{key}.'.startswith(still)]) * 0.5

    twin = build(cfg)
    twin.load_state_dict(model.state_dict())
    first, second = _predict(model), _predict(twin)
    assert len(first) > 1 and all(map(torch.equal, first, second))


def _train(model, name):
    """A step of SGD, clipped, in which decay and rate are those of the usual paramwise_cfg."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='CPUAmpOptimWrapper' if name == MIXED else 'OptimWrapper',
            optimizer=dict(type='SGD', lr=1e-3, weight_decay=1e-4),
            clip_grad=dict(max_norm=35),
            accumulative_counts=2 if name == ACCUMULATED else 1,
            paramwise_cfg=dict(
                norm_decay_mult=0, bypass_duplicate=True, custom_keys={'.sc.': dict(lr_mult=10)}
            ),
        ),
    )
    wrapper.zero_grad = lambda: None  # for a look at the gradients
    steps = 2 if name == ACCUMULATED else 1
    wrapper.initialize_count_status(model, 0, steps)
    for _ in range(steps):
        with wrapper.optim_context(model):
            losses = model(*images_with_boxes(model, 64).values(), mode='loss')
        loss, _ = model.parse_losses(losses)
        assert loss.isfinite()
        wrapper.update_params(loss)


def _predict(model):
    with torch.no_grad():
        samples = model.eval()(*images_with_boxes(model, 64, train=False).values(), mode='predict')
    return [
        value
        for sample in samples
        for value in (sample.pred_instances.bboxes, sample.pred_instances.scores)
    ]
