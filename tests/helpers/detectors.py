"""Detectors of mmdet's own configurations, with nothing changed but the norm."""

import inspect
import os
from copy import deepcopy
from functools import cache

import mmdet
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import init_default_scope

import dn_mmdet  # noqa: F401

DNB_16 = dict(type='DNB', r=16, g='oup')
BATCH_NORMS = ('BN', 'BN2d', 'SyncBN', 'MMSyncBN')
CONFIGS = os.path.join(os.path.dirname(mmdet.__file__), '.mim', 'configs')

register_all_modules()


@cache
def _config(name):
    return Config.fromfile(os.path.join(CONFIGS, name))


def model_config(name, norm=DNB_16):
    """The model of a configuration without pretrained weights, with a norm for its BatchNorms."""
    model = deepcopy(_config(name).model)
    exchange(model, norm)
    return model


def exchange(node, norm):
    """Put a norm where a dict or, if it says nothing, its class has a BatchNorm."""
    if isinstance(node, (list, tuple)):
        for inner in node:
            exchange(inner, norm)
    if not isinstance(node, dict):
        return
    if (node.get('init_cfg') or {}).get('type') == 'Pretrained':
        node['init_cfg'] = None
    # What mixes images of other sizes needs larger ones.
    node.pop('batch_augments', None)
    default = _default_norm(node.get('type'))
    if default and 'norm_cfg' not in node:
        node['norm_cfg'] = dict(default)
    for key, inner in node.items():
        if key.endswith('norm_cfg') and (inner or {}).get('type') in BATCH_NORMS:
            # A SyncBN asks for a GPU.
            inner.update(norm or dict(type='BN'))
        else:
            exchange(inner, norm)


def build(model):
    """A model of :func:`model_config`, which building may change."""
    init_default_scope('mmdet')
    return MODELS.build(deepcopy(model))


def images_with_boxes(model, size, train=True):
    """A batch of two images with random boxes, as the model's forward takes it."""
    torch.manual_seed(1)
    data = demo_mm_inputs(
        2,
        image_shapes=[(3, size, size)] * 2,
        num_items=[3, 2],
        num_classes=4,
        with_mask=getattr(getattr(model, 'roi_head', None), 'with_mask', False),
    )
    return model.data_preprocessor(data, train)


def _default_norm(type_):
    cls = MODELS.get(type_) if isinstance(type_, str) else None
    for base in getattr(cls, '__mro__', ()):
        if '__init__' in vars(base):
            parameter = inspect.signature(base.__init__).parameters.get('norm_cfg')
            if parameter is not None:
                given = parameter.default
                return given if isinstance(given, dict) and given['type'] in BATCH_NORMS else None
    return None
