"""The unpickler of torch before 2.6 calls nothing that a file names; it works on every torch."""

import os
import pickle
import tarfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from dn_mmdet.engine import weights_only
from dn_mmdet.engine.checkpoint_file import SAFE_GLOBALS


@pytest.fixture(autouse=True)
def allowed(tmp_path, monkeypatch):
    """The list, and torch as it was before afterwards."""
    for name in ('load', '_weights_only_unpickler'):
        monkeypatch.setattr(torch.serialization, name, getattr(torch.serialization, name))
    monkeypatch.setattr(torch, 'load', torch.load)
    weights_only.allow_globals(SAFE_GLOBALS)
    monkeypatch.chdir(tmp_path)


class _Calls:
    def __reduce__(self):
        return os.mkdir, ('hacked',)


def test_a_checkpoint_of_mmengine_is_read_as_it_was():
    losses = HistoryBuffer()
    losses.update(1.5)
    state = OrderedDict(half=torch.ones(2, dtype=torch.bfloat16), parameter=torch.nn.Parameter())
    state._metadata = {'': {'version': 1}}
    content = dict(
        state_dict=state, best=np.float32(0.5), count=np.int64(3), losses=losses, seen={1, 2}
    )
    torch.save(content, 'good.pth')
    found = torch.load('good.pth', weights_only=True)
    assert found['state_dict']._metadata == state._metadata
    assert torch.equal(found['state_dict']['half'], state['half'])
    assert found['best'] == 0.5 and found['count'] == 3 and found['seen'] == {1, 2}
    assert found['losses'].mean() == 1.5


def test_legacy_files_are_read_too():
    torch.save({'a': torch.ones(2)}, 'legacy.pth', _use_new_zipfile_serialization=False)
    assert torch.equal(torch.load('legacy.pth', weights_only=True)['a'], torch.ones(2))


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('protocol', [2, 4])
def test_what_is_not_on_the_list_is_not_called(protocol, zipped):
    torch.save(
        {'meta': _Calls()}, 'bad.pth', pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    with pytest.raises(pickle.UnpicklingError, match='GLOBAL posix.mkdir was not'):
        torch.load('bad.pth', weights_only=True)
    assert not os.path.exists('hacked')


@pytest.mark.parametrize(
    'data',
    [
        b"(S'hacked'\nios\nmkdir\n.",
        b"(cos\nmkdir\nS'hacked'\no.",
        # The state of a class, and a call of what was read and not named.
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n}\x8c\x04meanK\x01sb.',
        b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n\x8c\x04mean\x86R)R.',
        b'cbuiltins\ngetattr\ncmmengine.logging.history_buffer\nHistoryBuffer\n\x8c\x08__init__\x86R.',
        b'c_codecs\nencode\n\x8c\x01a\x8c\x05rot13\x86R.',
        b'\x82\x01.',
    ],
    ids=['INST', 'OBJ', 'BUILD', 'REDUCE', 'getattr', 'codec', 'EXT'],
)  # fmt: skip
def test_opcodes_that_lead_elsewhere(data, tmp_path):
    (tmp_path / 'data').write_bytes(data)
    before = dict(vars(HistoryBuffer))
    with pytest.raises((pickle.UnpicklingError, KeyError)), open('data', 'rb') as file:
        weights_only._WeightsOnly.load(file)
    assert dict(vars(HistoryBuffer)) == before and not os.path.exists('hacked')


@pytest.mark.parametrize('forced', [False, True])
def test_archives_are_refused(forced, monkeypatch):
    """torch would run what the one holds, and unpack the other."""
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), 'script.pth')
    torch.save({}, 'inner')
    with tarfile.open('tar.pth', 'w') as archive:
        archive.add('inner')
    if forced:
        monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    options = {} if forced else {'weights_only': True}
    for name, kind in (('script.pth', 'TorchScript'), ('tar.pth', 'tar')):
        with pytest.raises(pickle.UnpicklingError, match=f'does not read {kind} archives'):
            torch.load(name, **options)
        with open(name, 'rb') as file, pytest.raises(pickle.UnpicklingError, match=kind):
            torch.load(file, **options)


def test_without_weights_only_torch_is_as_it_was():
    torch.save({'meta': _Calls}, 'class.pth')
    assert torch.load('class.pth', weights_only=False)['meta'] is _Calls
