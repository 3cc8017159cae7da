import shutil

import pytest

from dn_mmdet.utils.errors import UserError

pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')

from dn_mmdet.deployment.benchmark import benchmark_onnx  # noqa: E402


def test_models_take_turns(exported, tmp_path, capsys):
    other = shutil.copy(exported / 'tiny.onnx', tmp_path / 'other.onnx')
    table = benchmark_onnx([str(exported / 'tiny.onnx'), str(other)], threads=1, repeats=2)
    first, second = table.splitlines()[2:]
    assert '64x64' in first and '1.00 (1.00 to 1.00)' in first
    assert str(other) in second
    assert capsys.readouterr().out == f'{table}\n'


def test_a_model_given_twice_is_refused(exported):
    with pytest.raises(UserError, match='given twice'):
        benchmark_onnx([str(exported / 'tiny.onnx')] * 2)
