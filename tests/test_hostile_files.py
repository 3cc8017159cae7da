"""One file that would write another when it is unpickled, carried through every door."""

import pickle

import pytest
import torch

from dn_mmdet.engine import checkpoint_file, weights_only
from dn_mmdet.runs.predictions import read_predictions
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import write_config
from tests.helpers.tool_runs import place, refused  # noqa: F401

HOSTILE = 'hostile.pth'
PRETRAINED = f"""
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{HOSTILE}')))
"""
DOORS = {
    'load_from': ['train.py', 'tiny.py', '--cfg-options', f'load_from={HOSTILE}'],
    'resume': ['train.py', 'tiny.py', '--resume', HOSTILE],
    'last_checkpoint': ['train.py', 'tiny.py', '--resume', '--work-dir', 'work'],
    'Pretrained': ['train.py', 'pretrained.py'],
    'test': ['test.py', 'tiny.py', HOSTILE],
    'publish': ['model_converters/publish_model.py', HOSTILE],
    'convert': ['model_converters/bn_to_dnb.py', 'tiny.py', HOSTILE],
    'static_affine': ['analysis_tools/static_affine.py', 'tiny.py', HOSTILE],
    'visualize_affine': [
        *('analysis_tools/visualize_affine.py', 'tiny.py'),
        *(HOSTILE, 'data/val2017'),
    ],
    'corruption': ['analysis_tools/corruption.py', 'tiny.py', HOSTILE],
    'export': ['deployment/export_onnx.py', 'tiny.py', HOSTILE, 'model.onnx'],
}
# What a door cannot be opened without.
NEEDS = {'corruption': 'imagecorruptions', 'export': 'onnx'}


class _Writes:
    def __reduce__(self):
        return open, ('hacked', 'w')


@pytest.fixture
def hostile(place):  # noqa: F811
    """The file, in a folder with data and configurations."""
    # Weights before it: who loads a part of the file loads it too.
    torch.save(dict(state_dict={'weight': torch.ones(2)}, meta=_Writes()), place / HOSTILE)
    write_config(place, more=PRETRAINED, name='pretrained.py')
    (place / 'work').mkdir()
    (place / 'work/last_checkpoint').write_text(str(place / HOSTILE))
    return place


@pytest.fixture(params=['torch', 'ours'])
def unpickler(request, monkeypatch):
    """torch's ``weights_only``, and that of this package for a torch without a list."""
    if request.param == 'torch':
        return
    for name in ('load', '_weights_only_unpickler'):
        monkeypatch.setattr(torch.serialization, name, getattr(torch.serialization, name))
    monkeypatch.setattr(torch, 'load', torch.load)
    for name in ('get_unsafe_globals_in_checkpoint', 'add_safe_globals'):
        monkeypatch.delattr(torch.serialization, name, raising=False)
    weights_only.allow_globals(checkpoint_file.SAFE_GLOBALS)


@pytest.mark.parametrize('door', DOORS)
def test_no_door_lets_it_in(door, hostile, unpickler, refused, monkeypatch):  # noqa: F811
    """Whatever the environment says of torch's default."""
    if door in NEEDS:
        pytest.importorskip(NEEDS[door])
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    sentence = refused(*DOORS[door], folder=hostile)
    assert f'{HOSTILE} is refused and none of it was run: besides tensors it contains' in sentence
    assert 'io.open' in sentence
    assert not (hostile / 'hacked').exists()


def test_predictions_are_a_door_too(hostile):
    (hostile / 'predictions.pkl').write_bytes(pickle.dumps([dict(img_path=_Writes())]))
    with pytest.raises(UserError, match='predictions.pkl is refused .* contains io.open'):
        read_predictions(hostile / 'predictions.pkl')
    assert not (hostile / 'hacked').exists()


def test_the_file_is_hostile(hostile):
    """Or nothing above would mean anything."""
    torch.load(HOSTILE, weights_only=False)
    assert (hostile / 'hacked').exists()
