import ast
import re
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest

from tests.helpers.tiny import REPOSITORY, snapshot, write_classifier, write_image_folder
from tests.test_deployment.conftest import ONE_BLOCK, save_weights, write_about

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

NAMES = ('left', 'right', 'up', 'down', 'in', 'out', 'on', 'off', 'by', 'to')
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


def assert_pixels_of_pipeline(config, weights, exported, file, size):
    """The demo makes of an image what the test pipeline and the data preprocessor make of it."""
    from dn_mmdet.analysis.model import load_model
    from dn_mmdet.deployment.export import _batch
    from dn_mmdet.deployment.onnx_file import open_session, read_metadata
    from dn_mmdet.engine.preflight.registries import config_scope
    from dn_mmdet.engine.test import load_test_config

    tool = runpy.run_path(str(TOOL))
    about = read_metadata(open_session(exported), exported)
    found = tool['pixels_of'](tool['read_image'](file), about)
    cfg = load_test_config(str(config), str(weights))
    with config_scope(cfg):
        model = load_model(cfg, str(weights))
        expected = _batch(cfg, model, [str(file)], size).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    return about


def photograph(file, width, height):
    """Structure at every scale, so that a shift by half a pixel shows."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    cv2.imwrite(str(file), cv2.GaussianBlur(noise, (0, 0), 2) // 2 + noise // 2)
    return file


def test_pixels_of_a_stretched_image(exported, tmp_path):
    file = photograph(tmp_path / 'a.png', 97, 131)
    assert_pixels_of_pipeline(
        exported / 'tiny.py', exported / 'tiny.pth', exported / 'tiny.onnx', file, (64, 64)
    )


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    """A classifier that scales by the short edge and has class names of its own."""
    from dn_mmdet.deployment import export_onnx

    folder = tmp_path_factory.mktemp('classifier')
    write_image_folder(folder / 'crops/val')
    config = write_classifier(folder)
    config.write_text(
        f"""{config.read_text()}
{ONE_BLOCK}
val_dataloader['dataset'].update(
    metainfo=dict(classes={NAMES}),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(40, 1000000), keep_ratio=True),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackClassInputs'),
    ])
test_dataloader = val_dataloader
"""
    )
    weights = save_weights(config, folder / 'classifier.pth')
    export_onnx(str(config), str(weights), str(folder / 'classifier.onnx'), one_image=True)
    return folder


@pytest.mark.parametrize('width, height', [(90, 55), (61, 83), (41, 41)], ids=str)
def test_pixels_by_the_short_edge(classifier, tmp_path, width, height):
    file = photograph(tmp_path / 'a.png', width, height)
    about = assert_pixels_of_pipeline(
        classifier / 'classifier.py',
        classifier / 'classifier.pth',
        classifier / 'classifier.onnx',
        file,
        (32, 32),
    )
    assert about['resize'] == dict(short_edge=40) and about['classes'] == list(NAMES)


def test_it_runs_where_nothing_else_is_installed(
    demo, exported, classifier, tmp_path, monkeypatch, capsys
):
    for name in ('torch', 'torchvision', 'mmcv', 'mmengine', 'mmdet', 'dn_mmdet', 'onnx', 'PIL'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError):
        __import__('mmdet')
    file = photograph(tmp_path / 'a.png', 80, 70)
    demo(exported / 'tiny.onnx', file, '--out', 'drawn', '--score', '0.02')
    assert (tmp_path / 'drawn/a.png').is_file()
    capsys.readouterr()
    demo(classifier / 'classifier.onnx', file)
    said = capsys.readouterr().out
    assert re.search(r'a\.png: (\w+) [01]\.\d+, (\w+) 0\.\d+', said)[1] in NAMES


def test_a_package_that_is_not_there_is_a_sentence(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(SystemExit, match='^error: .*onnxruntime.*: run `pip install onnxruntime'):
        demo('tiny.onnx', 'a.png')


def test_an_image_whose_name_says_no_format_is_drawn(demo, exported, tmp_path):
    photograph(tmp_path / 'a.png', 80, 70)
    for name in ('plain', 'a.txt'):
        shutil.copy(tmp_path / 'a.png', tmp_path / name)
    demo(exported / 'tiny.onnx', 'plain', 'a.txt', '--out', 'drawn')
    assert {file.name for file in (tmp_path / 'drawn').iterdir()} == {'plain.png', 'a.txt.png'}


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['none.onnx', 'a.png'], "there is no model file 'none.onnx'"),
        (['lone.py', 'a.png'], 'is not a model that ONNX Runtime opens'),
        (['cut.onnx', 'b.png'], "'cut.onnx' is not a model that ONNX Runtime opens"),
        (['tiny.onnx', 'b.png', 'cut.png'], "'cut.png' is not an image that OpenCV reads"),
        (['tiny.onnx', 'a.png'], "there is no image 'a.png'"),
        (['tiny.onnx', 'lone.py'], "'lone.py' is not an image that OpenCV reads"),
        (['tiny.onnx', 'empty'], "the folder 'empty' holds no image"),
        (['tiny.onnx', 'b.png', '--out', 'b.png'], "--out 'b.png' is not a folder"),
        (['tiny.onnx', 'b.png', '--out', '.'], "--out '.': b.png is one of the images"),
        (['tiny.onnx', 'b.png', '--score', 'nan'], '--score nan is not from 0 to 1'),
        (['tiny.onnx', 'b.png', '--threads', '-1'], '--threads -1 must be 0 or more'),
        (['text.onnx', 'b.png'], "'text.onnx' is not a detector or classifier that export_onnx"),
        (['list.onnx', 'b.png'], "'list.onnx' is not a detector or classifier that export_onnx"),
        (['part.onnx', 'b.png'], "'part.onnx' is not a detector or classifier that export_onnx"),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_refused(demo, exported, tmp_path, arguments, said):
    shutil.copy(exported / 'tiny.onnx', tmp_path)
    (tmp_path / 'empty').mkdir()
    cv2.imwrite(str(tmp_path / 'b.png'), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'cut.png').write_bytes((tmp_path / 'b.png').read_bytes()[:40])
    (tmp_path / 'cut.onnx').write_bytes((tmp_path / 'tiny.onnx').read_bytes()[:2000])
    for name, about in dict(text='{', list='[1]', part='{"task": "detection"}').items():
        write_about(exported / 'tiny.onnx', tmp_path / f'{name}.onnx', about)
    before = snapshot(tmp_path)
    with pytest.raises(SystemExit, match='error: ') as stop:
        demo(*arguments)
    assert said in str(stop.value)
    assert snapshot(tmp_path) == before
