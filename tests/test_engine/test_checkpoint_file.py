"""A checkpoint file is read without running code that it holds."""

import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint

from dn_mmdet.engine.checkpoint_file import (
    force_weights_only,
    read_checkpoint,
    register_safe_globals,
    state_dict_of,
)
from dn_mmdet.utils.errors import UserError
from tests.helpers.checkpoints import save
from tests.helpers.torch_versions import needs_torch


class _Calls:
    def __reduce__(self):
        return os.mkdir, ('hacked',)


def test_fetched_checkpoint_runs_no_code(tmp_path, monkeypatch):
    """torch.hub, which fetches, loads with the safety off."""
    path = tmp_path / 'fetched.pth'
    torch.save(dict(state_dict={}, meta=_Calls()), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        mmengine_checkpoint,
        'load_url',
        lambda *args, **kwargs: torch.load(path, map_location='cpu', weights_only=False),
    )
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UserError, match='https://example.org/a.pth is refused.* posix.mkdir'):
        read_checkpoint('https://example.org/a.pth', 'load_from')
    assert not (tmp_path / 'hacked').exists()
    torch.save(dict(state_dict={'a': torch.ones(2)}), path)
    content = read_checkpoint('https://example.org/a.pth', 'load_from')
    assert torch.equal(content['state_dict']['a'], torch.ones(2))


def test_fetching_that_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no route')

    monkeypatch.setattr(mmengine_checkpoint, 'load_url', fail)
    with pytest.raises(UserError, match=r'a.pth of load_from cannot be fetched \(no route\)'):
        read_checkpoint('https://example.org/a.pth', 'load_from')


@pytest.mark.parametrize(
    ('source', 'way'),
    [
        (
            'model.backbone.init_cfg',
            'it with --cfg-options model.backbone.init_cfg.checkpoint=FILE.',
        ),
        ('load_from', 'it.'),
    ],
)
def test_fetching_without_torchvision(source, way, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    with pytest.raises(UserError) as error:
        read_checkpoint('torchvision://resnet50', source)
    assert str(error.value) == (
        f'torchvision://resnet50 of {source} needs torchvision: install it, or download the file '
        f'and give {way}'
    )


def test_reading_is_safe_by_itself(tmp_path, monkeypatch):
    torch.save(_Calls(), tmp_path / 'hostile.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UserError, match='hostile.pth is refused'):
        read_checkpoint('hostile.pth', 'load_from')
    assert not (tmp_path / 'hacked').exists()


def test_every_load_of_the_process_is_safe(tmp_path, monkeypatch):
    torch.save(_Calls(), tmp_path / 'hostile.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    force_weights_only()
    with pytest.raises(Exception, match='posix'):
        torch.load('hostile.pth', weights_only=False)
    assert not (tmp_path / 'hacked').exists()


def test_getattr_leads_nowhere(tmp_path):
    """The stand-in for getattr gives a HistoryBuffer its methods and nothing else."""
    register_safe_globals()

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(Reach(), tmp_path / 'reach.pth')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        torch.load(tmp_path / 'reach.pth', weights_only=True)


def test_a_loader_with_a_list_of_its_own_is_replaced(tmp_path, monkeypatch):
    """As OneDL's mmengine has: it would allow getattr, and load anything in the end."""

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    monkeypatch.setattr(
        'mmengine.runner.checkpoint._safe_torch_load', lambda *_: 'anything', raising=False
    )
    register_safe_globals()
    from mmengine.runner.checkpoint import _safe_torch_load

    torch.save(Reach(), tmp_path / 'reach.pth')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        _safe_torch_load(tmp_path / 'reach.pth', 'cpu')
    save(tmp_path / 'ours.pth', {'weight': torch.ones(2)})
    for _ in range(2):
        assert _safe_torch_load(tmp_path / 'ours.pth', map_location='cpu')['meta']['epoch'] == 1


def test_a_damaged_checkpoint_is_not_taken_for_a_hostile_one(tmp_path):
    """The names in it are those of every checkpoint; what is wrong is that a tensor is missing."""
    losses = HistoryBuffer()
    losses.update(1.5)
    content = dict(state_dict={'a': torch.ones(2)}, best=np.float64(0.5), losses=losses)
    torch.save(content, tmp_path / 'whole.pth')
    with (
        zipfile.ZipFile(tmp_path / 'whole.pth') as whole,
        zipfile.ZipFile(tmp_path / 'damaged.pth', 'w') as damaged,
    ):
        for name in whole.namelist():
            if '/data/' not in name:
                damaged.writestr(name, whole.read(name))
    with pytest.raises(UserError, match='damaged.pth cannot be read as a checkpoint'):
        read_checkpoint(str(tmp_path / 'damaged.pth'), 'load_from')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_a_refused_file_of_any_pickle_protocol_is_told_by_its_name(protocol, zipped, tmp_path):
    content, path = dict(state_dict={}, meta=_Calls()), tmp_path / 'hostile.pth'
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(
        UserError, match='refused and .* besides tensors it contains posix.mkdir, which'
    ):
        read_checkpoint(str(path), 'load_from')


def test_keys_of_weights_are_texts():
    with pytest.raises(UserError, match='a.pth has 7 among the keys of its weights'):
        state_dict_of({'state_dict': {7: torch.ones(1)}}, 'a.pth')


def test_a_bare_pickle_is_refused_by_the_name_it_holds(tmp_path):
    class Loads:
        def __reduce__(self):
            return torch.hub.load, ('owner/name', 'model')

    path = tmp_path / 'bare.pth'
    path.write_bytes(pickle.dumps({'state_dict': {}, 'x': Loads()}))
    with pytest.raises(UserError, match='is refused and none of it was run: .* torch.hub.load'):
        read_checkpoint(str(path), 'the test')


@pytest.mark.parametrize('kind', ['float16', 'int32', 'uint8', 'bool'])
def test_arrays_of_numbers_are_data(kind, tmp_path):
    torch.save(dict(w=np.ones(2, kind)), tmp_path / 'a.pth')
    assert read_checkpoint(str(tmp_path / 'a.pth'), 'a test')['w'].dtype == kind


@needs_torch((2, 6), 'reads arrays of texts with the unpickler of this package')
def test_arrays_of_texts_are_named(tmp_path):
    torch.save(dict(w=np.array(['a'])), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='a.pth is refused and none of it was run: .*StrD'):
        read_checkpoint(str(tmp_path / 'a.pth'), 'a test')


def test_a_file_of_numpy_is_no_checkpoint(tmp_path):
    np.save(tmp_path / 'a.npy', np.ones(3))
    with pytest.raises(UserError, match='a.npy cannot be read as a checkpoint'):
        read_checkpoint(str(tmp_path / 'a.npy'), 'a test')
