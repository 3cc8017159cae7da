import cv2
import pytest
import torch

from dn_mmdet.analysis.model import load_model
from dn_mmdet.analysis.visualize_affine import image_pipeline
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.engine.test import load_test_config
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import write_classifier, write_image_folder
from tests.test_deployment.conftest import ONE_BLOCK, save_weights

pytest.importorskip('onnx', reason='onnx is not installed')
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from dn_mmdet.deployment import export_onnx  # noqa: E402
from dn_mmdet.deployment.evaluate import _OnnxModel, evaluate_onnx  # noqa: E402
from dn_mmdet.deployment.onnx_file import open_session  # noqa: E402


def test_boxes_are_in_pixels_of_the_image(exported, tmp_path):
    """A random detector's mAP is 0, so what the metric gets is compared."""
    image = cv2.resize(cv2.imread(str(exported / 'data/val2017/000.jpg')), (96, 40))
    cv2.imwrite(str(tmp_path / 'wide.png'), image)
    files = [str(exported / 'tiny.py'), str(exported / 'tiny.pth')]
    cfg = load_test_config(*files)
    with config_scope(cfg), torch.no_grad():
        model = load_model(cfg, files[1])
        sample = image_pipeline(cfg)(dict(img_path=str(tmp_path / 'wide.png'), img_id=0))
        batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        expected = model.test_step(batch)[0].pred_instances
        session = open_session(exported / 'tiny.onnx')
        runner_model = _OnnxModel(session, 'tiny.onnx', 'detection', model.data_preprocessor)
        found = runner_model.test_step(batch)[0].pred_instances
    assert len(found) == len(expected) > 10
    assert found.bboxes[:, 2].max() > 70 and found.bboxes[:, 3].max() <= 40
    for a, b in ((found.scores, expected.scores), (found.bboxes.mean(0), expected.bboxes.mean(0))):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_classifier_is_as_accurate(tmp_path, capsys):
    write_image_folder(tmp_path / 'crops/val')
    config = write_classifier(tmp_path)
    config.write_text(f'{config.read_text()}\n{ONE_BLOCK}\n')
    weights = str(save_weights(config, tmp_path / 'classifier.pth'))
    file = str(export_onnx(str(config), weights, str(tmp_path / 'a.onnx'), one_image=True))
    found = evaluate_onnx(str(config), weights, file, str(tmp_path / 'work'))
    assert found['onnx'] == pytest.approx(found['pytorch'], abs=1e-3)
    assert max(found['onnx'].values()) > 0
    assert '| metric' in capsys.readouterr().out


def test_another_model_is_refused(exported, tmp_path, monkeypatch):
    config, weights = str(exported / 'tiny.py'), str(exported / 'tiny.pth')
    file = str(exported / 'tiny.onnx')
    names = tuple('abcdefghij')
    with pytest.raises(UserError, match=r"exported from 'tiny.py' with the classes \['zero'"):
        evaluate_onnx(
            config,
            weights,
            file,
            cfg_options={'test_dataloader.dataset.metainfo.classes': names},
        )
    model = _OnnxModel(open_session(file), file, 'detection', None)
    with pytest.raises(UserError, match='takes images of 64x64, and the test pipeline makes 32x48'):
        model(torch.zeros(1, 3, 32, 48), [None])
    cut = tmp_path / 'cut.onnx'
    cut.write_bytes((exported / 'tiny.onnx').read_bytes()[:2000])
    with pytest.raises(UserError, match='cut.onnx cannot be opened by ONNX Runtime'):
        evaluate_onnx(config, weights, str(cut))
    monkeypatch.chdir(tmp_path)
    export_onnx(config, weights, 'backbone.onnx', part='backbone', one_image=True)
    with pytest.raises(UserError, match='backbone.onnx is a backbone'):
        evaluate_onnx(config, weights, 'backbone.onnx')
    assert {file.name for file in tmp_path.iterdir()} == {'backbone.onnx', 'cut.onnx'}
