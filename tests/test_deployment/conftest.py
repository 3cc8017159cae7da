"""A small detector with a checkpoint, exported once."""

import pytest

from tests.helpers.tiny import write_coco, write_config
from tests.helpers.tool_runs import refused  # noqa: F401

ONE_BLOCK = 'model = dict(backbone=dict(init_cfg=None, num_blocks=(1,) * 7))'


def save_weights(config, file):
    """A checkpoint of random weights whose scores and scales differ from place to place."""
    import torch
    from torch import nn

    from dn_mmdet.analysis.model import build_model
    from dn_mmdet.engine.preflight.registries import config_scope
    from dn_mmdet.engine.test import load_test_config
    from dn_mmdet.layers import DNB

    torch.manual_seed(0)
    cfg = load_test_config(str(config), str(file))
    with config_scope(cfg):
        model = build_model(cfg).train()
    for module in model.modules():
        if isinstance(module, DNB):
            nn.init.normal_(module.sc.fc2_weight, std=0.3)
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))  # moves the running statistics
        if hasattr(model, 'bbox_head'):
            for branch in model.bbox_head.cls_convs:
                branch[-1].weight.mul_(10)
        else:
            model.fc.weight.normal_()
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return file


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """Folder with data/, tiny.py, tiny.pth and tiny.onnx."""
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    pytest.importorskip('onnx', reason='onnx is not installed')
    from dn_mmdet.deployment import export_onnx

    folder = tmp_path_factory.mktemp('exported')
    write_coco(folder / 'data')
    # One block a stage: a graph of every kind of layer.
    config = write_config(folder, more=ONE_BLOCK)
    save_weights(config, folder / 'tiny.pth')
    export_onnx(
        str(config),
        str(folder / 'tiny.pth'),
        str(folder / 'tiny.onnx'),
        images=[str(folder / 'data/val2017')],
    )
    return folder


def write_about(model, file, about):
    """A copy of an exported model that says something else of itself."""
    import onnx

    copy = onnx.load(model)
    del copy.metadata_props[:]
    copy.metadata_props.add(key='dn_mmdet', value=about)
    onnx.save(copy, file)
