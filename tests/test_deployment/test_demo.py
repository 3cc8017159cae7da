import ast
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest

from tests.helpers.tiny import REPOSITORY, snapshot

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

TOOL = REPOSITORY / 'tools/deployment/demo.py'


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The tool as a lone file in another folder."""
    tool = shutil.copy(TOOL, tmp_path / 'lone.py')
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['lone.py', *map(str, arguments)])
        runpy.run_path(str(tool), run_name='__main__')

    return run


def test_it_imports_nothing_of_ours():
    tree = ast.parse(TOOL.read_text())
    names = {
        name.split('.')[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert names - sys.stdlib_module_names == {'cv2', 'numpy', 'onnxruntime'}


def test_boxes_are_drawn(demo, exported, tmp_path, capsys):
    demo(exported / 'tiny.onnx', exported / 'data/val2017', '--out', 'drawn', '--score', '0.02')
    images = sorted((exported / 'data/val2017').iterdir())
    assert [file.name for file in sorted((tmp_path / 'drawn').iterdir())] == [
        f.name for f in images
    ]
    drawn, plain = cv2.imread(str(tmp_path / 'drawn/000.jpg')), cv2.imread(str(images[0]))
    assert drawn.shape == plain.shape
    assert (np.abs(drawn.astype(int) - plain).max(2) > 60).mean() > 0.05
    assert 'boxes' in capsys.readouterr().out


def test_pixels_are_those_of_the_pipeline(exported):
    from dn_mmdet.analysis.model import load_model
    from dn_mmdet.deployment.export import _batch
    from dn_mmdet.deployment.onnx_file import open_session, read_metadata
    from dn_mmdet.engine.preflight.registries import config_scope
    from dn_mmdet.engine.test import load_test_config

    tool = runpy.run_path(str(TOOL))
    file = exported / 'data/val2017/000.jpg'
    about = read_metadata(open_session(exported / 'tiny.onnx'), 'tiny.onnx')
    found = tool['pixels_of'](tool['read_image'](file), about)
    cfg = load_test_config(str(exported / 'tiny.py'), str(exported / 'tiny.pth'))
    with config_scope(cfg):
        model = load_model(cfg, str(exported / 'tiny.pth'))
        expected = _batch(cfg, model, [str(file)], (64, 64)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['none.onnx', 'a.png'], "there is no model file 'none.onnx'"),
        (['lone.py', 'a.png'], 'is not a model that ONNX Runtime opens'),
        (['tiny.onnx', 'a.png'], "there is no image 'a.png'"),
        (['tiny.onnx', 'lone.py'], "'lone.py' is not an image that OpenCV reads"),
        (['tiny.onnx', 'empty'], "the folder 'empty' holds no image"),
        (['tiny.onnx', 'b.png', '--out', 'b.png'], "--out 'b.png' is not a folder"),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_refused(demo, exported, tmp_path, arguments, said):
    shutil.copy(exported / 'tiny.onnx', tmp_path)
    (tmp_path / 'empty').mkdir()
    cv2.imwrite(str(tmp_path / 'b.png'), np.zeros((8, 8, 3), np.uint8))
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit, match='error: ') as stop:
        demo(*arguments)
    assert said in str(stop.value)
    assert snapshot(tmp_path) == before
