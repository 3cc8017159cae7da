"""torch.export and torch.compile take the forward pass of a detector with DN-B whole."""

import pytest
import torch

from dn_mmdet.analysis.model import load_model
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.engine.test import load_test_config
from tests.helpers.tiny import write_config
from tests.helpers.torch_versions import needs_dynamic_export
from tests.test_deployment.conftest import ONE_BLOCK, save_weights


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector')
    config = write_config(folder, more=ONE_BLOCK)
    file = str(save_weights(config, folder / 'tiny.pth'))
    cfg = load_test_config(str(config), file)
    with config_scope(cfg):
        return load_model(cfg, file)


def outputs(maps):
    return [level for kind in maps for level in kind]


@needs_dynamic_export
def test_export(detector):
    dims = ({0: torch.export.Dim('batch', min=1, max=64)},)
    program = torch.export.export(detector, (torch.randn(2, 3, 64, 64),), dynamic_shapes=dims)
    other = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        found, expected = outputs(program.module()(other)), outputs(detector(other))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_compile_without_graph_break(detector):
    compiled = torch.compile(detector, backend='eager', fullgraph=True)
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, expected = outputs(compiled(image)), outputs(detector(image))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
