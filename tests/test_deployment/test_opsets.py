"""Each version of ONNX's operators that is offered, with both batches, gives what PyTorch gives."""

import numpy as np
import pytest
import torch
from torch import nn

from dn_mmdet.analysis.model import load_model
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.engine.test import load_test_config
from dn_mmdet.layers import DNB, fuse_conv_dnb
from tests.helpers.layer_maps import randomize
from tests.helpers.torch_versions import needs_torch

pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from dn_mmdet.deployment.graph import ClassifierGraph, make_graph  # noqa: E402
from dn_mmdet.deployment.onnx_file import OPSETS, onnx_bytes, open_session  # noqa: E402
from dn_mmdet.deployment.verify import compare_outputs  # noqa: E402

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def graph(exported):
    """The graph of the detector, folded, and what it computed before."""
    cfg = load_test_config(str(exported / 'tiny.py'), str(exported / 'tiny.pth'))
    with config_scope(cfg), torch.no_grad():
        model = load_model(cfg, str(exported / 'tiny.pth'))
        graph = make_graph(model, IMAGES)
        expected = [part.numpy() for part in graph.expected(IMAGES)]
    fuse_conv_dnb(model, IMAGES)
    return graph, expected


OLD = needs_torch((2, 4), 'writes means as up to version 17')


@pytest.mark.parametrize(
    'opset', [pytest.param(opset, marks=[OLD] if opset > 17 else []) for opset in OPSETS]
)
def test_opset(graph, opset):
    graph, expected = graph
    alone = opset % 2 == 0  # The batch of one image has nodes of its own.
    session = open_session(onnx_bytes(graph, IMAGES, {}, opset, one_image=alone))
    assert session.get_inputs()[0].shape[0] == (1 if alone else 'batch')
    count = 1 if alone else 2
    found = session.run(None, {'images': IMAGES[:count].numpy()})
    compare_outputs('detection', graph.names(found), [part[:count] for part in expected], found)


@pytest.mark.parametrize('alone', [False, True])
def test_a_norm_behind_no_convolution(alone):
    """PyTorch's exporter asks for its number of channels."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 1), randomize(DNB(8, r=2)), nn.ReLU(), randomize(DNB(8, r=2, g='oup'))
    model = nn.Sequential(nn.Sequential(*layers), nn.Flatten(1)).eval()
    expected = model(IMAGES).detach().numpy()
    assert fuse_conv_dnb(model, IMAGES) == 1 and model[0][0].per_sample
    graph = ClassifierGraph(model).eval()
    session = open_session(onnx_bytes(graph, IMAGES, {}, one_image=alone))
    (found,) = session.run(None, {'images': IMAGES[: 1 if alone else 2].numpy()})
    expected = torch.from_numpy(expected[: len(found)]).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
