"""Arrays in .npz and .h5 files are read, and nothing else is."""

import sys

import numpy as np
import pytest
import torch

from dn_mmdet.utils.errors import UserError
from dn_mmdet.weights import read_keras

ARRAYS = {'Conv1/kernel': np.ones((3, 3, 3, 2), np.float32), 'Conv1/bias': np.zeros(2)}


def test_npz(tmp_path):
    np.savez(tmp_path / 'a.npz', **ARRAYS, names=np.array(['no number']))
    found = read_keras(tmp_path / 'a.npz')
    assert {name: value.shape for name, value in found.items()} == {
        'Conv1/kernel': (3, 3, 3, 2),
        'Conv1/bias': (2,),
    }
    assert torch.equal(found['Conv1/kernel'], torch.ones(3, 3, 3, 2))


def test_h5(tmp_path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.attrs['layer_names'] = ['Conv1']
        for name, array in ARRAYS.items():
            file[f'model_weights/{name}:0'] = array
    assert set(read_keras(tmp_path / 'a.h5')) == {f'model_weights/{name}:0' for name in ARRAYS}


@pytest.mark.parametrize(
    'name, spoil, words',
    [
        ('gone.npz', lambda path: None, 'does not exist: check the path'),
        ('folder.npz', lambda path: path.mkdir(), 'is a folder'),
        ('text.npz', lambda path: path.write_text('no'), 'cannot be read as .npz'),
        (
            'object.npz',
            lambda path: np.savez(path, a=np.array([{}], dtype=object)),
            'cannot be read as .npz',
        ),
        ('words.npz', lambda path: np.savez(path, a=np.array(['a'])), 'holds no arrays of numbers'),
    ],
)
def test_bad_files(name, spoil, words, tmp_path):
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=words):
        read_keras(tmp_path / name)


def test_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    (tmp_path / 'a.h5').touch()
    with pytest.raises(UserError, match='needs the package h5py, .*numpy.savez'):
        read_keras(tmp_path / 'a.h5')


def test_other_spellings_of_npz(tmp_path):
    """A name in capitals, and the byte order of another machine."""
    np.savez(tmp_path / 'a.npz', a=np.arange(3, dtype='>f4'))
    (tmp_path / 'a.npz').rename(tmp_path / 'A.NPZ')
    assert read_keras(tmp_path / 'A.NPZ')['a'].tolist() == [0, 1, 2]


def test_what_is_only_called_npz(tmp_path):
    """A checkpoint of torch is a zip file too, and numpy reads a single array under any name."""
    torch.save({'a': torch.zeros(2)}, tmp_path / 'torch.npz')
    with open(tmp_path / 'single.npz', 'wb') as file:
        np.save(file, np.zeros(2))
    for name in ('torch.npz', 'single.npz'):
        with pytest.raises(UserError, match=f'{name} cannot be read as .npz'):
            read_keras(tmp_path / name)
