import shutil

import pytest

from dn_mmdet.utils.errors import UserError

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
onnx = pytest.importorskip('onnx', reason='onnx is not installed')

from dn_mmdet.deployment import export_onnx  # noqa: E402
from dn_mmdet.deployment.benchmark import benchmark_onnx  # noqa: E402
from tests.test_deployment.conftest import write_about  # noqa: E402


def test_models_take_turns(exported, tmp_path, capsys):
    other = shutil.copy(exported / 'tiny.onnx', tmp_path / 'other.onnx')
    table = benchmark_onnx([str(exported / 'tiny.onnx'), str(other)], threads=1, repeats=2)
    first, second = table.splitlines()[2:]
    assert '64x64' in first and '1.00 (1.00 to 1.00)' in first
    assert str(other) in second
    assert capsys.readouterr().out == f'{table}\n'


def test_a_model_of_one_image_is_for_batches_of_one(exported, tmp_path):
    file = str(tmp_path / 'one.onnx')
    files = str(exported / 'tiny.py'), str(exported / 'tiny.pth'), file
    export_onnx(*files, part='backbone', one_image=True)
    with pytest.raises(UserError, match='one.onnx takes 1 image at a time, not --batch 2'):
        benchmark_onnx([file], batch=2)
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    # Neither passes over the map nor nodes that ask for shapes.
    assert not {'Shape', 'MatMul', 'Slice', 'Gather'} & set(kinds)
    assert kinds.count('Conv') > kinds.count('ReduceMean') > 10


def test_a_model_given_twice_is_refused(exported):
    with pytest.raises(UserError, match='given twice'):
        benchmark_onnx([str(exported / 'tiny.onnx')] * 2)


@pytest.mark.parametrize('about', ['{', '[1]', '{"task": "detection"}'])
def test_a_model_whose_metadata_are_damaged_is_refused(exported, tmp_path, about):
    write_about(exported / 'tiny.onnx', tmp_path / 'bad.onnx', about)
    with pytest.raises(UserError, match='bad.onnx does not say what its input and classes are'):
        benchmark_onnx([str(tmp_path / 'bad.onnx')])
