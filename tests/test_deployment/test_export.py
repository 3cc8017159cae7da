import re

import numpy as np
import pytest

from dn_mmdet.deployment.verify import compare_outputs
from dn_mmdet.utils.errors import UserError
from tests.helpers.bccd import BCCD, NEEDS_BCCD
from tests.helpers.tiny import write_classifier, write_image_folder
from tests.test_deployment.conftest import ONE_BLOCK, save_weights

onnx = pytest.importorskip('onnx', reason='onnx is not installed')
onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from dn_mmdet.deployment import export_onnx  # noqa: E402
from dn_mmdet.deployment.onnx_file import open_session, read_metadata  # noqa: E402

TOOL = 'deployment/export_onnx.py'


def test_detector(exported):
    """The check on images is the export's own; what it finds is more than nothing."""
    session = open_session(exported / 'tiny.onnx')
    assert [value.shape for value in session.get_inputs()] == [['batch', 3, 64, 64]]
    for number in (1, 3):
        batch = np.random.default_rng(0).normal(size=(number, 3, 64, 64)).astype(np.float32)
        dets, labels = session.run(None, {'images': batch})
        assert dets.shape == (number, *dets.shape[1:2], 5) and labels.shape == dets.shape[:2]
        assert (labels >= 0).sum() > 10 * number
        assert ((labels >= 0) == (dets[..., 4] > 0)).all()
        assert (np.diff(dets[..., 4]) <= 0).all()
    about = read_metadata(session, 'tiny.onnx')
    assert about['task'] == 'detection' and about['config'] == 'tiny.py'
    assert about['input_size'] == [64, 64] and about['channel_order'] == 'RGB'
    assert about['classes'][:2] == ['zero', 'one']
    kinds = {node.op_type for node in onnx.load(exported / 'tiny.onnx').graph.node}
    assert 'BatchNormalization' not in kinds and 'NonMaxSuppression' in kinds


def test_classifier_of_any_size_and_backbone(tmp_path, capsys):
    write_image_folder(tmp_path / 'crops/val')
    config = write_classifier(tmp_path)
    config.write_text(f'{config.read_text()}\n{ONE_BLOCK}\n')
    weights = save_weights(config, tmp_path / 'classifier.pth')
    file = export_onnx(
        str(config), str(weights), str(tmp_path / 'a.onnx'), shape=(32, 32), dynamic_size=True
    )
    session = open_session(file)
    (scores,) = session.run(None, {'images': np.zeros((3, 3, 40, 56), np.float32)})
    assert scores.shape[0] == 3 and np.allclose(scores.sum(1), 1, atol=1e-5)
    file = export_onnx(
        str(config), str(weights), str(tmp_path / 'b.onnx'), shape=(32, 32), part='backbone'
    )
    assert [output.name for output in open_session(file).get_outputs()] == ['feature_0']
    assert re.search(r'at most \S+ in feature_0 ', capsys.readouterr().out)


@NEEDS_BCCD
def test_photographs(exported, tmp_path, capsys):
    """The check of the export, on pixels of a camera in place of squares."""
    files = [str(file) for file in sorted((BCCD / 'JPEGImages').iterdir())[:4]]
    export_onnx(
        str(exported / 'tiny.py'),
        str(exported / 'tiny.pth'),
        str(tmp_path / 'a.onnx'),
        images=files,
        one_image=True,
    )
    said = capsys.readouterr().out
    paired, alone = re.search(r'on 4 images: (\d+) .* in both and (\d+) in one', said).groups()
    assert int(paired) > 50 and int(alone) < 0.02 * int(paired)


def test_eight_bits(exported, tmp_path):
    images = [str(exported / 'data/val2017')]
    export_onnx(
        str(exported / 'tiny.py'),
        str(exported / 'tiny.pth'),
        str(tmp_path / 'int8.onnx'),
        images=images,
        int8=images,
    )
    model = onnx.load(tmp_path / 'int8.onnx')
    assert sum(node.op_type == 'QuantizeLinear' for node in model.graph.node) > 10
    assert read_metadata(open_session(tmp_path / 'int8.onnx'), 'int8.onnx')['task'] == 'detection'
    assert (tmp_path / 'int8.onnx').stat().st_size < (exported / 'tiny.onnx').stat().st_size


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['out.onnx', '--opset', '9'], '--opset 9 is not supported'),
        (['out.txt'], "'out.txt' must be the name of a file that ends in .onnx"),
        (['data'], 'OUT data is a folder'),
        (['out.onnx', '--shape', '0', '64'], 'give --shape H W'),
        (['out.onnx', '--dynamic-size'], '--dynamic-size: a detector has the anchors'),
        (['out.onnx', '--images', 'none.png'], 'none.png does not exist'),
        (['out.onnx', '--images', 'data/val2017', '--shape', '96', '96'], 'makes 64x64 of'),
        (
            ['out.onnx', '--cfg-options', 'model.test_cfg.nms.type=soft_nms'],
            'which ONNX has no operator for',
        ),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_refused(refused, exported, monkeypatch, arguments, said):
    monkeypatch.chdir(exported)
    assert said in refused(TOOL, 'tiny.py', 'tiny.pth', *arguments, folder=exported)


def test_a_model_that_computes_something_else_is_not_written(exported, tmp_path, monkeypatch):
    from dn_mmdet.deployment import export
    from dn_mmdet.layers.fuse import FusedConvDNB, fuse_conv_dnb

    def wrong(model, example):
        folded = fuse_conv_dnb(model, example)
        for module in model.modules():
            if isinstance(module, FusedConvDNB):
                module.fc2_bias += 1
        return folded

    monkeypatch.setattr(export, 'fuse_conv_dnb', wrong)
    with pytest.raises(UserError, match='does not compute what the PyTorch model does'):
        export_onnx(str(exported / 'tiny.py'), str(exported / 'tiny.pth'), str(tmp_path / 'a.onnx'))
    assert not list(tmp_path.iterdir())


def test_detections_are_compared_by_place():
    dets = np.float32([[[0, 0, 10, 10, 0.9], [20, 20, 40, 40, 0.8], [0, 0, 0, 0, 0]]])
    labels = np.int64([[0, 1, -1]])
    names = ['dets', 'labels']
    swapped = dets[:, [1, 0, 2]], labels[:, [1, 0, 2]]
    assert compare_outputs('detection', names, (dets, labels), swapped).startswith('2 detections')
    for change in ((0, 0, 1.0), (0, 4, 0.01)):
        moved = dets.copy()
        moved[0, change[0], change[1]] += change[2]
        with pytest.raises(UserError, match='differ by at most'):
            compare_outputs('detection', names, (dets, labels), (moved, labels))
    with pytest.raises(UserError, match='not finite'):
        compare_outputs('detection', names, (dets, labels), (dets * np.nan, labels))
